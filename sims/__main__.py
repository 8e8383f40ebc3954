"""``python -m sims`` lists the simulations."""

import ast
from pathlib import Path


def main() -> None:
    """Print each program and the first sentence of what it says of itself."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            says = ast.get_docstring(ast.parse(text)) or ""
            print(f"python -m sims.{path.stem:16} {says.splitlines()[0]}")
    print("each takes --seconds, --out FILE.npz, --picture FILE.png, --video FILE.mp4, --view; --help tells the rest")


main()
