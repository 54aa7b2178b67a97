"""Statistics of the pronoun audit: pure functions on arrays."""
