"""Pure functions on arrays: cells, intervals, resampling, permutation, multiplicity, agreement. Imports numpy and
scipy alone.

The unit of inference is the randomised unit (a name, a stem), never the repetition. Import the modules by name, for
example ``from evenhand.statistics.clusters import cluster_bootstrap``; nothing is imported here, so that ``import
evenhand`` stays fast.
"""

from __future__ import annotations

__all__: list[str] = []
