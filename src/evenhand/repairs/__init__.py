"""Artefacts that change a model: the adapter of a DART repair."""
