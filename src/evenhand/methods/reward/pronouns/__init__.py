"""Misgendering after a declared pronoun family, stage by stage."""
