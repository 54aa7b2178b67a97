"""Statistics of the rating audit: pure functions on arrays."""
