"""Safety by category, the shift of the opening tokens, and the sweep over its correction."""
