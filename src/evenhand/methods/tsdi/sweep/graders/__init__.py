"""Graders of the TSDI sweep."""
