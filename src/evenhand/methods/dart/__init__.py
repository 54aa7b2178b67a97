"""Difference awareness: questions in which groups differ, their transfer, harm drift, and the repair."""
