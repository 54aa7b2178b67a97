"""Graders of the safety audit."""
