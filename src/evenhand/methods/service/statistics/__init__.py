"""Statistics of the service audit: pure functions on arrays."""
