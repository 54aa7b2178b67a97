"""The declaration of transfer: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="transfer",
    title="Transfer to open questions",
    summary="open questions that need a stated difference, controls apart",
    paper="dart",
    audit="evenhand.methods.dart.transfer.audit:TransferAudit",
    section="evenhand.methods.dart.transfer.page:transfer_part",
    order=50,
)
