"""A finished run as an object: its audits, findings, rows, figures and page."""

from evenhand.results.audit import AuditView, Figure
from evenhand.results.run import RunResult, load

__all__ = ["AuditView", "Figure", "RunResult", "load"]
