"""The corpus builder: classification, expansion, removal of near-duplicates, data card, and the sweep over thresholds."""

from __future__ import annotations

__all__: list[str] = []
