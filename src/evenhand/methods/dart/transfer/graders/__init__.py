"""Graders of the transfer audit."""
