"""Service quality: the one place where the rest of the package learns of this method."""

from __future__ import annotations

from evenhand.records import LABELS
from evenhand.registry import Entry, Method

METHOD = Method(
    name="service",
    title="Service quality",
    summary="refusals and worse service on harmless prompts, by group",
    paper="service",
    audit="evenhand.methods.service.audit:ServiceAudit",
    labels=LABELS,
    sample="evenhand.methods.service.graders:write_sample",
    settings="evenhand.methods.service.config:ServiceSettings",
    section="evenhand.methods.service.page:service_part",
    datasets=(
        Entry(
            "llama2-qos",
            "evenhand.methods.service.datasets:Llama2Qos",
            "early public release of the published study",
        ),
        Entry(
            "holisticbias",
            "evenhand.methods.service.datasets:HolisticBias",
            "HolisticBias v1.1 noun phrases, hostile parts dropped",
        ),
    ),
    order=10,
)
