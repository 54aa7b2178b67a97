"""Readers of ratings, prompts and the items to be rated, for the rating audit and the corpus builder."""
