"""The pluralism audit's part of the report."""
