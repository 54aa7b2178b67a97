"""Harm drift between the outputs of two models."""
