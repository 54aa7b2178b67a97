"""The difference audit's part of the report."""
