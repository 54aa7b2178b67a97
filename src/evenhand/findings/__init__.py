"""Findings: families of tests and their adjustment."""
