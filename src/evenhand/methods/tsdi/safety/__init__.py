"""Safety by category, over-refusal and the shift of refusal openers."""
