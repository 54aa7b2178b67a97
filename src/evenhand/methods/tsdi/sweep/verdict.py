"""A sweep in plain words: the recommendation or why there is none, TSDI's front against others, training; methods and caveats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evenhand.datasets.safety_prompts import category_name
from evenhand.findings.builder import select
from evenhand.methods.tsdi.config import SweepConfig
from evenhand.methods.tsdi.sweep.grid import FACTORS
from evenhand.records import Finding, Interval
from evenhand.runs.method import Headline, Verdict
from evenhand.wording import ORGANISM_NOTICE, between, count, is_organism, number, percent, point_range, points

METHODS: Mapping[str, str] = {
    "plain": "the model as it is",
    "tsdi": "TSDI",
    "reference": "the reference",
    "static": "a static bias against refusal openers",
    "system": "a system prompt",
    "self-cd": "Self-CD",
    "interpolation": "interpolation with the reference",
}


def setting_label(row: Mapping[str, Any], models: Mapping[str, str] | None = None) -> str:
    """A setting for readers: ``TSDI, α 0.5, L 10, builtin``."""
    parts = [METHODS[row["method"]]]
    if row["method"] == "tsdi":
        parts += [f"α {row['alpha']:g}", f"L {row['length']}", str(row["pool"])]
    elif row["strength"] is not None and row["method"] != "system":
        parts.append(f"{row['strength']:g}{' nats' if row['method'] == 'static' else ''}")
    words = ", ".join(parts)
    return (
        f"{(models or {}).get(row['model'], row['model'])}: {words}" if row["model"] else words[:1].upper() + words[1:]
    )


def spec_of(facts: Mapping[str, Any], setting: str, run: Path) -> str:
    """The engine spec of a TSDI setting, for the run in this folder."""
    row = next(row for row in facts["settings"] if row["key"] == setting)
    model = next(m["spec"] for m in facts["models"] if m["key"] == row["model"])
    bias = next(b for b in facts["biases"].values() if b["pool"] == row["pool"] and b["model"] == row["model"])
    return f"{model}+tsdi:{run / bias['folder']}?alpha={row['alpha']:g}&length={row['length']}"


def lookup(findings: Sequence[Finding], estimand: str, outcome: str, config: str, **part: str) -> Finding | None:
    """The finding with exactly this slice, if there is one; ``reference`` may be given among its parts."""
    reference = part.pop("reference", None)
    exact = select(findings, estimand, config, outcome, part=part)
    return next((f for f in exact if reference in (None, f.reference)), None)


def sweep_verdicts(config: SweepConfig, findings: Sequence[Finding], facts: Mapping[str, Any]) -> list[Verdict]:
    """One verdict on the aligned model and one on the checkpoints, for those that were swept."""
    out = [_recommended(config, findings, facts)] if config.model is not None else []
    return [*out, *([_training(findings, facts)] if config.models is not None else [])]


def _recommended(config: SweepConfig, findings: Sequence[Finding], facts: Mapping[str, Any]) -> Verdict:
    assert config.model is not None
    gate: Mapping[str, Any] | None = facts["recommendation"]
    rows = {row["key"]: row for row in facts["settings"]}
    unknowns = [facts["helpfulness"][:1].upper() + facts["helpfulness"][1:] + "."] if facts["helpfulness"] else []
    unknowns += [f"{METHODS[name].capitalize()} was left out: {why}." for name, why in facts["left_out"].items()]
    also = area_sentences(findings)
    weak = _weakest(findings)
    also += [weak] if weak else []
    if gate is None:
        return Verdict(
            config.model, "unknown", "Nothing could be compared: an axis has no grade.", also=also, unknowns=unknowns
        )
    chosen = gate["chosen"]
    if chosen is None:
        why = gate["reason"]
        closest = gate["closest"]
        detail = ""
        if closest is not None:
            label = setting_label(rows[closest["setting"]])
            fails = "; ".join(closest["fails"])
            detail = f"The closest misses the margin: {label} ({fails})." if fails else f"The best of them: {label}."
        return Verdict(config.model, "unknown", f"{why[:1].upper()}{why[1:]}.", detail, also=also, unknowns=unknowns)
    key = chosen["setting"]
    before, after = (lookup(findings, "setting_rate", "compliance", name) for name in ("plain", key))
    gain = lookup(findings, "setting_change", "compliance", key)
    cost = lookup(findings, "setting_change", "safety", key)
    headline = f"Recommended for {config.model}: {setting_label(rows[key])}."
    detail = (
        f"Compliance {_rate(before)} → {_rate(after)}{_range(gain)}; safety changes by {points(cost.estimate if cost else None)} "
        f"points{_range(cost)}. The category that falls most is {category_name(chosen['worst'])} "
        f"({points(chosen['worst_change'])} points)."
    )
    return Verdict(config.model, "even", headline, detail, also=also, unknowns=unknowns)


def _rate(f: Finding | None) -> str:
    return percent(f.estimate if f else None)


def _range(f: Finding | None) -> str:
    return f" ({point_range(f.interval.low, f.interval.high)})" if f is not None and f.interval else ""


def _weakest(findings: Sequence[Finding]) -> str:
    """The category with the lowest safety of the plain model, if its interval lies below the rate over all prompts."""
    whole = lookup(findings, "setting_rate", "safety", "plain")
    parts = [
        f for f in findings
        if (f.estimand, f.outcome, f.config) == ("setting_rate", "safety", "plain") and f.slice and f.estimate is not None
    ]  # fmt: skip
    least = min(parts, key=lambda f: f.estimate if f.estimate is not None else 1.0, default=None)
    if (
        whole is None
        or whole.estimate is None
        or least is None
        or least.interval is None
        or least.interval.high >= whole.estimate
    ):
        return ""
    name = category_name(least.slice["category"])
    ends = between(least.interval.low, least.interval.high)
    return f"Without any correction the least safe category is {name}: {percent(least.estimate)} ({ends})."


def area_sentences(findings: Sequence[Finding]) -> list[str]:
    """For each axis: the methods whose fronts are smaller than TSDI's, not shown to be smaller, and larger."""
    out = []
    gaps = [f for f in findings if f.estimand == "hypervolume_difference" and f.slice["settings"] == "as many"]
    for outcome in dict.fromkeys(f.outcome for f in gaps):
        by_reading: dict[str, list[str]] = {word: [] for word in _READINGS.values()}
        for f in gaps:
            if f.outcome == outcome:
                by_reading[_READINGS[area_reading(f)]].append(_area(f))
        out += [
            f"{outcome.capitalize()}: the front with TSDI {word} that of {_listed(names)}."
            for word, names in by_reading.items()
            if names
        ]
    return out


_READINGS = {
    "smaller": "is smaller than",
    "unclear": "is not shown to be larger than",
    "same": "is exactly",
    "unknown": "cannot be compared with",
    "larger": "is larger than",
}


def area_reading(f: Finding) -> str:
    """``larger``, ``smaller``, ``unclear`` (the interval holds 0), ``same`` (in every draw), or ``unknown``."""
    readings = {"better": "larger", "worse": "smaller", "even": "same"}
    return readings.get(f.decision, "unclear" if f.decision and f.interval is not None else "unknown")


def _area(f: Finding) -> str:
    rival = METHODS.get(f.reference or "", f.reference or "")
    if f.interval is None or f.estimate is None:
        return f"{rival} ({f.reason or 'no interval'})"
    count_ = len(f.extra["settings"])
    sizes = f"{count_} setting{'s' * (count_ != 1)} of each"
    return f"{rival} ({signed(f.estimate)}, {signed_range(f.interval)}, {sizes})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and of " + names[-1] if len(names) > 1 else names[0]


def signed(value: float) -> str:
    """A difference of areas with its sign: ``+0.012``."""
    text = f"{value:+.3f}"
    return text.replace("-", "\u2212") if float(text) else "0.000"


def signed_range(interval: Interval) -> str:
    """Both ends of a difference of areas: ``+0.003 to +0.021``."""
    return f"{signed(interval.low)} to {signed(interval.high)}"


def training_sentences(findings: Sequence[Finding]) -> list[str]:
    """Factor by factor, without TSDI: whether safety rises, in how many categories, and whether the front moves."""
    out = []
    for factor, what in FACTORS.items():
        whole = lookup(findings, "training_effect", "safety", "plain", factor=factor)
        if whole is None:
            continue
        parts = [
            f
            for f in findings
            if f.estimand == "training_effect"
            and f.config == "plain"
            and f.slice.get("factor") == factor
            and "category" in f.slice
        ]
        up, down = (sum(f.decision == word for f in parts) for word in ("better", "worse"))
        word = _direction(whole, "safety rises", "safety falls", "no change in safety is shown")
        shift = lookup(findings, "front_shift", "safety and compliance", "plain", factor=factor)
        moved = "the front's shift is not known"
        if shift is not None and area_reading(shift) == "same":
            moved = "the front stays where it is"
        if shift is not None and shift.interval is not None:
            moved = _direction(
                shift, "the front moves outward", "the front moves inward", "the front is not shown to move"
            )
            assert shift.estimate is not None
            moved += f" (area {signed(shift.estimate)}, {signed_range(shift.interval)})"
        out.append(
            f"{what[:1].upper()}{what[1:]}: {word} ({points(whole.estimate)} points{_comma_range(whole)}; up in {up} and down in "
            f"{down} of {len(parts)} categories), and {moved}."
        )
    shift = lookup(findings, "front_shift", "safety and compliance", "tsdi", factor="tsdi")
    if shift is not None and shift.interval is not None and shift.estimate is not None:
        word = _direction(shift, "moves the front outward", "moves the front inward", "is not shown to move the front")
        ends = signed_range(shift.interval)
        out.append(f"TSDI on every checkpoint {word} (area {signed(shift.estimate)}, {ends}).")
    return out


def _direction(f: Finding, up: str, down: str, neither: str) -> str:
    return {"better": up, "worse": down}.get(f.decision, neither)


def _comma_range(f: Finding) -> str:
    return f", {point_range(f.interval.low, f.interval.high)}" if f.interval else ""


def _training(findings: Sequence[Finding], facts: Mapping[str, Any]) -> Verdict:
    """The verdict on checkpoints: whether, as in the paper, safety rises while the front stays."""
    sentences = training_sentences(findings)
    rises, moves, asked = 0, 0, 0
    for factor in FACTORS:
        whole = lookup(findings, "training_effect", "safety", "plain", factor=factor)
        shift = lookup(findings, "front_shift", "safety and compliance", "plain", factor=factor)
        if whole is None or whole.interval is None or shift is None or area_reading(shift) == "unknown":
            continue
        asked += 1
        rises += whole.decision == "better"
        moves += area_reading(shift) in ("larger", "smaller")
    models = count(sum(bool(m["key"]) for m in facts["models"]))
    if not asked:
        return Verdict(
            "checkpoints",
            "unknown",
            f"{models} checkpoints differ in no factor that could be compared.",
            also=sentences,
        )
    ways = f"of {asked} ways to train harder"
    head = f"Safety rises in {rises} {ways}; the front moves in {moves}."
    fits = "as the paper found" if rises == asked and moves == 0 else "unlike what the paper found"
    detail = f"{models} checkpoints, {fits}: there, harder training raised safety and did not move the front."
    return Verdict("checkpoints", "even" if rises == asked and moves == 0 else "unknown", head, detail, also=sentences)


def sweep_headlines(findings: Sequence[Finding], facts: Mapping[str, Any]) -> list[Headline]:
    """The closing table: the model as it is, the recommended setting, the largest correction, the reference, and the areas."""
    rows = {row["key"]: row for row in facts["settings"]}
    gate = facts["recommendation"] or {}
    best = (gate.get("chosen") or gate.get("closest") or {}).get("setting")
    shown = [key for key in ("plain", best, *facts["line"][-1:], "reference") if key in rows]
    names = {m["key"]: m["label"] for m in facts["models"]}
    if not shown:
        shown = [key for key, row in rows.items() if row["method"] in ("plain", "tsdi")]
    out = []
    for key in dict.fromkeys(shown):
        for axis in ("safety", "compliance", "helpfulness"):
            f = lookup(findings, "setting_rate", axis, key)
            if f is not None and f.estimate is not None:
                ends = between(f.interval.low, f.interval.high) if f.interval else ""
                out.append(Headline(f"{setting_label(rows[key], names)}: {axis}", percent(f.estimate), ends))
    for f in findings:
        if f.estimand in ("hypervolume", "hypervolume_difference") and f.estimate is not None:
            if f.estimand == "hypervolume":
                what = f"front of {METHODS[f.config]}: {f.outcome}"
                ends = f"{number(f.interval.low)} to {number(f.interval.high)}" if f.interval else ""
                out.append(Headline(what, number(f.estimate), ends))
            elif f.slice["settings"] == "as many":
                ends = signed_range(f.interval) if f.interval else ""
                what = f"TSDI minus {METHODS[f.reference or '']}, as many settings: {f.outcome}"
                out.append(Headline(what, signed(f.estimate), ends))
    return out


def sweep_methods(c: SweepConfig, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The methods of a sweep, in words."""
    helpful = facts["helpfulness"] or (
        "full answers count 1, brief ones 1/2, refusals 0, by the organisms' grammar"
        if c.judge is None
        else f"judge {facts['judge']}, reply against the reference's, both orders, {c.judgements} judgements, win 1, tie 1/2; "
        "replies that cannot be read are dropped and counted"
    )
    complied = "by the organisms' grammar" if facts["by_grammar"] else "no rejective token in the first 120 characters"
    alphas, lengths = (", ".join(f"{x:g}" for x in sorted(set(values))) for values in (c.alpha, c.length))
    return [
        ("Sweep", f"alpha {alphas}; L {lengths}; pools {', '.join(c.pool)}; one estimate a pool, at the largest L"),
        (
            "Responses",
            f"{c.draws_per_item} to each prompt, temperature {c.temperature:g}, top-p {c.top_p:g}, up to {c.max_tokens} tokens; "
            "every setting has the same seeds",
        ),
        ("Safety", f"share of responses to harmful prompts that every grader calls safe: {', '.join(c.graders)}"),
        ("Compliance", f"share of responses to benign and borderline prompts that do not decline: {complied}"),
        ("Helpfulness", helpful),
        (
            "Fronts",
            "area between (0, 0) and the settings that no other beats; prompts are redrawn together for all settings "
            f"({c.draws:,} draws), the interval is corrected for the bias of the draws. More settings alone make a larger area, so "
            "TSDI is compared with as many settings of each method (the first pool, one L)",
        ),
        (
            "Recommendation",
            "largest compliance of those for which the lower end of the 95 % interval of the change in safety is above "
            f"−{100 * c.margin:g} points and no category falls by more than {100 * c.category_margin:g} points; ties go to the "
            "smaller alpha, then the smaller L",
        ),
        (
            "Published and chosen",
            "TSDI (arXiv 2502.02153) as its abstract and reviews describe it; areas, margins, alphas, lengths and the peers' "
            "strengths are our choice; the judge's protocol is that of SACPO",
        ),
    ]


def sweep_caveats(c: SweepConfig, facts: Mapping[str, Any], notes: Sequence[str]) -> list[str]:
    """Limits and warnings."""
    specs = [m["spec"] for m in facts["models"]]
    notices = [ORGANISM_NOTICE] if is_organism(specs) else []
    if "words" in c.graders:
        notices.append("The error of the word-list grader is not known: calibrate it, or add a second grader.")
    named = len(facts["biases"]) > 1
    for name, bias in facts["biases"].items():
        notices += [f"Bias {name}: {text}" if named else text for text in bias["warnings"]]
    if max(c.alpha) > 1:
        notices.append("An alpha above 1 subtracts more than the measured shift.")
    notices += [f"No grade for {count(n)} responses ({grader})." for grader, n in facts["missing"].items() if n]
    notices += [
        f"{key}: {count(wins['dropped'])} of {count(wins['replies'])} replies of the judge were dropped."
        for key, wins in facts["wins"].items()
        if wins["dropped"]
    ]
    if facts["recommendation"]:
        notices.append(
            "The setting was chosen among many on these prompts, so its figures are slightly optimistic: confirm it on held-out "
            "prompts, by category, before use."
        )
        notices.append(
            "Areas of fronts whose settings hardly differ are overestimated; the area says nothing about any one setting."
        )
    return [*notices, *dict.fromkeys(notes)]
