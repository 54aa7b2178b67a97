"""The affirmation audit's part of the report."""
