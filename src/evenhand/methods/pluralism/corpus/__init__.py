"""Making a prompt set: fingerprints, the search for near-duplicates, and their removal."""

from __future__ import annotations

__all__: list[str] = []
