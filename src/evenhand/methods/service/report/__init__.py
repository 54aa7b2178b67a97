"""The service-quality audit's part of the report: its section, its verdict, its methods and the responses behind it."""

from __future__ import annotations

from evenhand.methods.service.report.caveats import SERVICE_CAVEATS
from evenhand.methods.service.report.evidence import service_evidence, service_facets
from evenhand.methods.service.report.section import service_section
from evenhand.methods.service.report.verdict import service_verdict

__all__ = [
    "SERVICE_CAVEATS",
    "service_evidence",
    "service_facets",
    "service_section",
    "service_verdict",
]
