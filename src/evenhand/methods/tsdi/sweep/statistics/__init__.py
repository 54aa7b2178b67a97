"""Statistics of the TSDI sweep: pure functions on arrays."""
