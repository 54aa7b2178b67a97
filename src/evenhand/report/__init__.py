"""Findings -> one HTML page that works offline, with the responses behind every number.

A page is composed of sections, one an audit; a section of typed blocks (`blocks`). `render` turns a page into HTML
and `write` puts it in a file. `service` makes the section and the verdict of the service-quality audit.
"""

from __future__ import annotations

from evenhand.report.evidence import Evidence, EvidenceRow, Facet, FacetSet
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Page, Section, Verdict, render, write

__all__ = [
    "Evidence",
    "EvidenceRow",
    "Facet",
    "FacetSet",
    "Glance",
    "GlanceRow",
    "KeyNumber",
    "Page",
    "Section",
    "Verdict",
    "render",
    "write",
]
