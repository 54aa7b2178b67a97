"""Page section of the prompt-set builder."""
