"""Graders of the difference audit."""
