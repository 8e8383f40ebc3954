"""A placeholder."""
def render_page(p):
    return ""
