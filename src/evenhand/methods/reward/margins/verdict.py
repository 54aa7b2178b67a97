"""The reward audit in words: which stage did what to whom, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evenhand.findings.builder import select
from evenhand.findings.decide import ALPHA, is_found
from evenhand.methods.reward.margins.findings import Cut
from evenhand.methods.reward.margins.stages import Contribution, name_change, name_stage
from evenhand.records import Finding
from evenhand.runs.method import NATS, Headline, Verdict, closing_row, holm_p
from evenhand.runs.stages import Step
from evenhand.wording import nats, nats_range, p_value

STAGE_WORDS = {"sft": "SFT", "dpo": "DPO", "sft-dpo": "DPO after SFT", "": "Tuning"}
_PAST = {
    "introduced": "introduced a harm",
    "amplified": "amplified a harm",
    "attenuated": "weakened a harm",
    "reversed": "reversed a harm",
}
_WORSE = ("introduced", "amplified")
CAVEATS = (
    "A reward margin shows what an alignment step favoured on constructed sentences, not how often users meet the harm. "
    "Absence of a margin is no evidence of safety.",
    "Both members of a pair name a marked group: a low margin can mean that the comparison is unusual text, not that the "
    "stereotype is rejected.",
)


@dataclass(frozen=True, slots=True)
class Named:
    """What one comparison did about one group: the fate of its mean margin, and the finding that shows it.

    ``stage`` is the stage responsible for it. ``net`` says whether neutral pairs were subtracted.
    """

    family: str
    stage: str
    policy: str
    pair_set: str
    group: str | None
    fate: str
    shift: Finding
    net: bool
    total: bool = False

    @property
    def found(self) -> bool:
        """Whether a change was found, by the stored decision on the shift."""
        return self.fate in _PAST and is_found(self.shift)


def _contribution(f: Finding) -> Contribution:
    return Contribution(f.estimate or 0.0, f.interval, f.test.p_holm if f.test else None)


def _shift(findings: Sequence[Finding], step: Step, cut: Cut) -> tuple[Finding, bool] | None:
    """The net shift if there are neutral pairs, else the plain one; whole sentences only."""
    where = {
        "pair_set": cut.pair_set,
        "stage": step.stage,
        "ratio": step.kind,
        "scope": "sentence",
    }
    for estimand in ("net_shift", "margin_shift"):
        for f in select(findings, estimand, step.policy, group=cut.group, having=where):
            rest = (f.slice.get("family", ""), f.slice.get("subset", ""))
            if f.reference == step.reference and rest == (step.family, cut.subset) and f.estimate is not None:
                return f, estimand == "net_shift"
    return None


def _level(findings: Sequence[Finding], model: str, cut: Cut) -> float | None:
    levels = select(findings, "margin_level", model, group=cut.group, having={"pair_set": cut.pair_set})
    return levels[0].estimate if levels else None


def name_all(findings: Sequence[Finding], steps: Sequence[Step], cuts: Sequence[Cut], tau: float) -> list[Named]:
    """Every comparison and group named; with SFT and SFT+DPO of one family the total gets the stage responsible for it."""
    out: list[Named] = []
    for cut in cuts:
        if cut.subset:
            continue
        by_stage: dict[tuple[str, str, str], tuple[Finding, bool]] = {}
        for step in steps:
            shift, before = _shift(findings, step, cut), _level(findings, step.reference, cut)
            if shift is None or before is None:
                continue
            by_stage[step.family, step.stage, step.kind] = shift
            fate = name_change(before, shift[0].estimate or 0.0, shown=is_found(shift[0]), eps=tau)
            out.append(
                Named(
                    step.family, step.stage, step.policy, cut.pair_set, cut.group, fate, *shift, step.is_total,
                )
            )  # fmt: skip
        out += _totals(findings, steps, cut, by_stage, tau)
    return out


def _totals(
    findings: Sequence[Finding],
    steps: Sequence[Step],
    cut: Cut,
    by_stage: Mapping[Any, tuple[Finding, bool]],
    tau: float,
) -> list[Named]:
    """From base to SFT+DPO, with the responsible stage, for families that have all three models."""
    out = []
    for family in dict.fromkeys(step.family for step in steps):
        parts = [by_stage.get((family, *key)) for key in (("sft-dpo", "total shift"), ("sft", "pseudo-reward"))]
        dpo = by_stage.get((family, "sft-dpo", "reward"))
        (total, sft) = parts
        base = next((step.reference for step in steps if (step.family, step.stage) == (family, "sft")), "")
        before = _level(findings, base, cut)
        if total is None or sft is None or dpo is None or before is None:
            continue
        named = name_stage(
            before, _contribution(total[0]), _contribution(sft[0]), _contribution(dpo[0]), eps=tau, alpha=ALPHA
        )
        out.append(Named(family, named.stage or "", total[0].config, cut.pair_set, cut.group, named.fate, *total, True))
    return out


def _about(named: Named, phrases: Mapping[str, str]) -> str:
    return f"about {phrases.get(named.group or '', named.group or 'all groups')}"


def _amount(f: Finding) -> str:
    ends = f" (95% interval {nats_range(f.interval.low, f.interval.high)})" if f.interval else ""
    return f"{nats(f.estimate)} nats{ends}"


def _sentence(named: Named, phrases: Mapping[str, str]) -> str:
    who = STAGE_WORDS.get(named.stage, named.stage)
    return f"{who} {_PAST[named.fate]} {_about(named, phrases)}: {_amount(named.shift)}."


def verdict(
    named: Sequence[Named], config: str, family: str, phrases: Mapping[str, str], floor: str, several: bool
) -> Verdict:
    """The verdict on one family: the gravest finding first, then the others, then what remains unknown."""
    compared = [n for n in named if n.family == family and not n.total and n.group is not None]
    changed = sorted(
        (n for n in compared if n.found), key=lambda n: (n.fate not in _WORSE, -abs(n.shift.estimate or 0.0))
    )
    where = f"{family or config}: " if several else ""
    unknowns = [
        f"{STAGE_WORDS.get(n.stage, n.stage)} {_about(n, phrases)}: {n.shift.reason}."
        for n in compared
        if n.shift.interval is None and n.shift.reason
    ]
    rest = len([n for n in compared if not n.found])
    unchanged = (
        f"{rest} of {len(compared)} comparisons of a stage and a group show no detectable change." if rest else ""
    )
    detail = " ".join(filter(None, (unchanged, floor)))
    worse = [n for n in changed if n.fate in _WORSE]
    also = tuple(_sentence(n, phrases) for n in changed if not worse or n is not worse[0])
    if worse:
        first = worse[0]
        p = first.shift.test.p_holm if first.shift.test else None
        size = first.shift.test.family_size if first.shift.test else 0
        tested = f"Adjusted p {p_value(p)} for {size} comparisons." if p is not None else ""
        net = "Net of what the stage did to neutral sentences about the same people." if first.net else ""
        return Verdict(
            config, "worse", where + _sentence(first, phrases), " ".join(filter(None, (net, tested, detail))), first.group,
            also, tuple(unknowns),
        )  # fmt: skip
    if not compared or all(n.shift.interval is None for n in compared):
        return Verdict(
            config,
            "unknown",
            f"{where}We cannot tell whether a stage rewarded a harm.",
            detail,
            None,
            also,
            tuple(unknowns),
        )
    limit = max((n.shift.minimum_detectable for n in compared if n.shift.minimum_detectable is not None), default=None)
    could = f" Shifts below about {nats(limit).lstrip('+')} nats could have gone unseen." if limit is not None else ""
    return Verdict(
        config,
        "even",
        f"{where}No stage was found to have rewarded a harm.",
        detail + could,
        None,
        also,
        tuple(unknowns),
    )


def headlines(named: Sequence[Named], phrases: Mapping[str, str]) -> list[Headline]:
    """Rows of the closing table: the shift of each stage and group that changed; one row for those that did not."""
    rows = []
    compared = [n for n in named if not n.total and n.group is not None]
    still = [n.shift.estimate for n in compared if not n.found and n.shift.estimate is not None]
    for n in compared:
        if not n.found:
            continue
        who = STAGE_WORDS.get(n.stage, n.stage)
        what = f"{n.family + ': ' if n.family else ''}{who}, {_about(n, phrases)}{', net' if n.net else ''}: {n.fate}"
        rows.append(closing_row(what, n.shift, NATS, p=holm_p(n.shift)))
    if still:
        what = f"no detectable change: {len(still)} comparisons of a stage and a group, lowest and highest shift"
        rows.append(Headline(what, f"{nats(min(still))} to {nats(max(still))} nats"))
    return rows


def only_found_in(named: Sequence[Named], pair_set: str = "identity", plain: str = "binary") -> list[str]:
    """Groups of the gender-diverse pairs about whom a harm was made worse, while the binary pairs show none at that stage."""
    seen = {(n.family, n.stage) for n in named if n.pair_set == plain and n.found and n.fate in _WORSE and not n.total}
    tried = {(n.family, n.stage) for n in named if n.pair_set == plain and not n.total}
    return list(
        dict.fromkeys(
            n.group
            for n in named
            if n.pair_set == pair_set and n.group is not None and n.found and n.fate in _WORSE and not n.total
            and (n.family, n.stage) in tried - seen
        )
    )  # fmt: skip


def recommendations(named: Sequence[Named], only: Sequence[str], phrases: Mapping[str, str]) -> list[dict[str, Any]]:
    """What to do, each with the ids of the findings that call for it. Our wording."""
    out: list[dict[str, Any]] = []
    worse = [n for n in named if n.found and n.fate in _WORSE and not n.total and n.group is not None]
    for stage, data in (
        ("sft", "SFT targets"),
        ("dpo", "preference pairs"),
        ("sft-dpo", "preference pairs"),
        ("", "tuning data"),
    ):
        of_stage = [n for n in worse if n.stage == stage]
        if of_stage:
            people = ", ".join(dict.fromkeys(phrases.get(n.group or "", n.group or "") for n in of_stage))
            text = f"Look at the {data} that mention {people}: evenhand datasets audit-preferences FILE counts them."
            out.append({"text": text, "findings": [n.shift.id for n in of_stage]})
    base = [
        n for n in named if n.fate == "preserved" and n.stage in ("sft", "dpo") and not n.total and n.group is not None
    ]
    if base:
        people = ", ".join(dict.fromkeys(phrases.get(n.group or "", n.group or "") for n in base))
        text = f"Alignment left what the base model holds against {people}: test the base model before it is tuned."
        out.append({"text": text, "findings": [n.shift.id for n in base]})
    if only:
        ids = [n.shift.id for n in worse if n.group in only]
        text = "Keep gender-diverse pairs in the release tests: pairs about women and men alone would have missed this."
        out.append({"text": text, "findings": ids})
    return out
