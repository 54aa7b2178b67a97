"""The transfer audit's part of the report."""
