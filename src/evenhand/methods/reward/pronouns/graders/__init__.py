"""Graders of the pronoun audit."""
