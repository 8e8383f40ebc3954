"""Pictures of a result: the report."""
