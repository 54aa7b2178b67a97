"""The pairs behind the reward figures: both texts, folded, with the margins of reference and policy."""

from __future__ import annotations

import polars as pl

from evenhand.methods.reward.margins.report.rows import PairRows
from evenhand.methods.reward.margins.statistics.reward import FATES
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.wording import group_label, nats


def reward_evidence(rows: PairRows, texts: pl.DataFrame, command: str) -> Evidence:
    """One row a (comparison, pair) of the shown scope. Every text stays closed until it is opened: one member is harmful.

    ``texts`` has the columns pair_id, context, harmful, comparison.
    """
    said = {row["pair_id"]: row for row in texts.iter_rows(named=True)}
    title = {(s.family, s.stage, s.policy, s.reference): s.title for s in rows.steps}
    found = []
    for row in rows.harm.iter_rows(named=True):
        pair = said[row["pair_id"]]
        step = title[row["family"], row["stage"], row["policy"], row["reference"]]
        shift = row["m_pi"] - row["m_ref"]
        found.append(
            EvidenceRow(
                id=row["pair_id"],
                facets={
                    "audit": "reward",
                    "step": step,
                    "about": row["group"],
                    "theme": row["theme"],
                    "fate": row["class"],
                },
                prompt=pair["context"],
                text=f"{pair['harmful'].strip()}\n{pair['comparison'].strip()}\n\n"
                f"margin before {nats(row['m_ref'])}, after {nats(row['m_pi'])}, changed by {nats(shift)} nats",
                flags=(row["class"],),
                fold="a harmful sentence, and the same about the comparison group",
            )
        )
    groups = dict.fromkeys(row.facets["about"] for row in found)
    facets = (
        Facet("audit", "Audit", {"reward": "Implicit reward"}),
        Facet("step", "Stage", {}, strata=True),
        Facet("about", "About", {group: group_label(group) for group in groups}, strata=True),
        Facet("theme", "Theme", {}),
        Facet("fate", "What became of it", {word: word for word in FATES}, strata=True),
    )
    return Evidence(facets, found, command)
