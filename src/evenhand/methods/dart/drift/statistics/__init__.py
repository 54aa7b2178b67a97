"""Statistics of the drift audit: pure functions on arrays."""
