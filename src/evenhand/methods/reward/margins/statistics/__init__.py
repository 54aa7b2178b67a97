"""Statistics of the reward audit: pure functions on arrays."""
