"""Refusals and worse service on harmless prompts, by group."""
