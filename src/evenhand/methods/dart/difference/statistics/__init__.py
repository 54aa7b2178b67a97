"""Statistics of the difference audit: pure functions on arrays."""
