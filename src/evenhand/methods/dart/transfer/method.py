"""Transfer to open questions: the one place where the rest of the package learns of this method."""

from __future__ import annotations

from evenhand.registry import Entry, Method

_TRANSFER = "evenhand.methods.dart.transfer.queries:Transfer"
_SUMMARY = "shipped: 280 open questions, 224 need a difference, 56 are controls"

METHOD = Method(
    name="transfer",
    title="Transfer to open questions",
    summary="open questions that need a stated difference, controls apart",
    paper="dart",
    audit="evenhand.methods.dart.transfer.audit:TransferAudit",
    section="evenhand.methods.dart.transfer.page:transfer_part",
    datasets=(Entry("transfer", _TRANSFER, _SUMMARY),),
    sets={"transfer-sets": (Entry("shipped", _TRANSFER, _SUMMARY),)},
    order=50,
)
