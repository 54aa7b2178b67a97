"""Whose judgement of harm a model shares: ratings by profile, and the making of prompt sets."""
