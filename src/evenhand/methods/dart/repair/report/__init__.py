"""A DART repair's part of the report."""
