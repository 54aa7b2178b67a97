"""Graders of the drift audit."""
