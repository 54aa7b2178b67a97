"""The version of Evenhand, which runs, engines and built corpora record beside their figures."""

from __future__ import annotations

__version__ = "0.1.0"
