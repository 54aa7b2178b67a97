"""Evenhand measures how a safety-aligned language model treats groups of people, and shows the evidence."""

__version__ = "0.1.0"
