"""The declaration of reward: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="reward",
    title="Implicit reward",
    summary="which stage of alignment rewarded a harm, by group",
    paper="reward",
    audit="evenhand.methods.reward.margins.audit:RewardAudit",
    shown=("policy", "stage", "group", "class", "m_ref", "m_pi", "net", "context", "harmful"),
    section="evenhand.methods.reward.margins.page:reward_part",
    order=20,
)
