"""The declaration of service: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="service",
    title="Service quality",
    summary="refusals and worse service on harmless prompts, by group",
    paper="service",
    audit="evenhand.methods.service.audit:ServiceAudit",
    section="evenhand.methods.service.page:service_part",
    order=10,
)
