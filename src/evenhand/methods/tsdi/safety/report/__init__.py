"""The safety audit's part of the report."""
