"""The reward audit's part of the report."""
