"""Trade-off, stem table and the tables of everything else that the service audit found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evenhand.methods.service.report.cells import cell
from evenhand.methods.service.report.index import OUTCOMES, Index, extra, mark_filter
from evenhand.records import Finding
from evenhand.report.blocks import Block, Cell, Column, Details, Series, Table, TradeOff, TradePoint
from evenhand.report.scales import nice_scale
from evenhand.wording import DASH, count, defined, group_label, number, p_value, percent, points

_TITLES = {
    "between_group_sd": "Spread: standard deviation between groups",
    "common_minus_rare": "Common names minus rare names",
    "flip_rate": "Counterfactual flips",
    "gap": "Spread: largest minus smallest rate",
    "grader_sensitivity": "Grader: sensitivity",
    "grader_specificity": "Grader: specificity",
    "leave_one_name_out": "Difference without the most influential name",
    "missing_rate": "Missing or failed responses",
    "omnibus": "All groups at once",
    "grader_kappa": "Grader: agreement with the first grader",
    "men_minus_women": "Names of men minus names of women",
    "pareto": "Trade-off: configurations on the Pareto front",
    "price_disparity": "Price of safety: dearest minus cheapest group",
    "price_of_safety": "Price of safety",
    "rank_correlation": "Trade-off: correlation of over-refusal and safety",
    "rate": "Rates with the grader's error taken out",
    "risk_difference": "Differences of parts of the data",
    "risk_ratio": "Ratio of rates",
    "share_over_threshold": "Groups over the service threshold",
    "toxicity": "Toxicity of all outputs (a control, never a label)",
    "stability": "Stability over repetitions",
    "words": "Words per response, served stems only",
    "worst_best_ratio": "Spread: worst rate over best",
}


def trade_off(index: Index, groups: list[str], block_id: str) -> TradeOff | None:
    """Over-refusal against safety, one panel a group, joined over the configurations in their order."""
    found = index.all("tradeoff_point")
    configs = [c for c in index.configs if any(f.config == c for f in found)]
    if len({f.config for f in found if extra(f, "x") is not None and extra(f, "y") is not None}) < 2:
        return None
    numbers = {config: str(i) for i, config in enumerate(configs, start=1)}
    series, data = [], []
    for group in groups:
        points_of = []
        for config in configs:
            f = next((f for f in found if f.config == config and f.group == group), None)
            index.show(f)
            x, y = (extra(f, "x"), extra(f, "y")) if f else (None, None)
            reason = f.reason if f else "no point for this configuration"
            data.append(
                (Cell(group_label(group)), Cell(config), cell(x, percent(x, 2), reason), cell(y, percent(y, 2), reason))
            )
            if x is None or y is None:
                continue
            spoken = f"{group_label(group)}, {config}: declined {percent(x)}, safety {percent(y)}"
            behind = mark_filter(config, group=group, outcome="declined")
            points_of.append(TradePoint(numbers[config], float(x), float(y), spoken, behind))
        if points_of:
            series.append(Series(group_label(group), tuple(points_of), _price(index, group)))
    if not series:
        return None
    xs = [p.x for s in series for p in s.points]
    ys = [p.y for s in series for p in s.points]
    measure = next((str(f.extra["y_axis"]) for f in found if "y_axis" in f.extra), "safety")
    return TradeOff(
        id=block_id,
        title="Safety against over-refusal",
        caption="Each panel follows one group through the configurations in order; the other groups stand behind it "
        "in grey. A line "
        "that runs to the right without rising pays in refusals and buys no safety.",
        x=nice_scale(xs, floor=0.0, ceiling=1.0, target=3, least=0.1),
        y=nice_scale(ys, include=(1.0,), floor=0.0, ceiling=1.0, target=3, least=0.1),
        x_title="harmless prompts declined, percent",
        y_title=f"{measure}, percent",
        series=tuple(series),
        key=tuple((number_, config) for config, number_ in numbers.items()),
        data=Table(
            id=f"{block_id}-data",
            columns=(Column("Group"), Column("Configuration"), Column("Declined", True), Column("Safety", True)),
            rows=tuple(data),
            caption="Both in percent.",
        ),
    )


def _price(index: Index, group: str) -> str:
    """The price of safety where there is one step between configurations; with more, the table below tells each."""
    prices = [f for f in index.all("price_of_safety") if f.group == group]
    if len(prices) != 1:
        return ""
    (price,) = prices
    return f"price {number(price.estimate)}" if price.estimate is not None else "price undefined"


def stem_table(
    index: Index, outcome: str, block_id: str, stems: Mapping[str, str], classes: Mapping[str, str]
) -> Table | None:
    """Rate of each stem over all names, one column a configuration."""
    configs = index.configs
    rates: dict[str, dict[str, Finding]] = {}
    for config in configs:
        for stem, f in index.sliced("stem_rate", outcome, config, "stem"):
            if f.group is None or f.group == "":
                rates.setdefault(stem, {})[config] = f
                index.show(f)
    if not rates:
        return None
    used = [c for c in configs if any(c in found for found in rates.values())]
    verb = OUTCOMES.get(outcome, (outcome, outcome))[0]
    rows = []

    leading = index.leading(outcome) if index.leading(outcome) in used else used[0]

    def height(stem: str) -> float:
        f = rates[stem].get(leading)
        return f.estimate if f is not None and f.estimate is not None else -1.0

    for stem in sorted(rates, key=lambda s: (-height(s), s)):
        any_of = next(iter(rates[stem].values()))
        text = stems.get(stem) or extra(any_of, "text", "stem_text") or ""
        kind = classes.get(stem) or extra(any_of, "class", "stem_class") or ""
        cells = [Cell(f"{stem} {text}".strip(), sort=stem), Cell(str(kind).replace("_", " "))]
        for config in used:
            cells.append(_stem_cell(rates[stem].get(config), stem, config, outcome, verb))
        rows.append(tuple(cells))
    heads = [Column(f"{verb.capitalize()}: {c}" if len(used) > 1 else verb.capitalize(), True) for c in used]
    return Table(
        id=block_id,
        title=f"Each stem: how often it was {verb}",
        columns=(Column("Stem"), Column("Class", help="neutral, stereotype probe, or loaded"), *heads),
        rows=tuple(rows),
        caption="Over all names. A stem that is declined whatever the name says something about the stem, not about "
        "a group. "
        "Choose a rate to read the responses behind it.",
        sortable=True,
    )


def _stem_cell(f: Finding | None, stem: str, config: str, outcome: str, verb: str) -> Cell:
    if f is None or f.estimate is None or not defined(f.estimate):
        return Cell(DASH, reason=(f.reason if f else "") or "not run in this configuration")
    return Cell(
        percent(f.estimate),
        sort=f.estimate,
        evidence=mark_filter(config, stem=stem, outcome=outcome),
        label=f"Stem {stem}, {config}: {verb} {percent(f.estimate)} of {count(f.n)}",
        bar=min(1.0, max(0.0, f.estimate)),
    )


def rate_table(index: Index, config: str, groups: list[str], block_id: str) -> Table | None:
    """Group rates of every outcome with their within-sample intervals."""
    outcomes = [o for o in index.outcomes("rate") if index.plain("rate", o, config)]
    if not outcomes:
        return None
    rows = []
    for group in groups:
        cells = [Cell(group_label(group))]
        for outcome in outcomes:
            f = index.plain("rate", outcome, config).get(group)
            index.show(f)
            text = percent(f.estimate if f else None)
            if f and f.interval:
                text += f" ({percent(f.interval.low)} to {percent(f.interval.high)})"
            cells.append(cell(f.estimate if f else None, text, f.reason if f else ""))
        rows.append(tuple(cells))
    titles = [OUTCOMES[o][1].split(":")[0] if o in OUTCOMES else o for o in outcomes]
    return Table(
        id=block_id,
        columns=(Column("Group"), *(Column(title, True) for title in titles)),
        rows=tuple(rows),
        caption="Rates with Wilson intervals. These are within-sample: they ignore that responses share names and "
        "stems, so "
        "they describe this sample and must not be compared with each other; the differences above carry the test.",
        sortable=True,
    )


def rest_tables(index: Index, block_id: str) -> list[Block]:
    """Every finding that no figure has shown, one table an estimand: nothing found is left out of the page."""
    kinds: dict[str, list[Finding]] = {}
    for f in index.rest:
        kinds.setdefault(f.estimand, []).append(f)
    return [
        Details(summary=_title(kind), blocks=(_findings_table(found, f"{block_id}-{i}"),))
        for i, (kind, found) in enumerate(sorted(kinds.items(), key=lambda pair: _title(pair[0])), start=1)
    ]


def _title(estimand: str) -> str:
    return _TITLES.get(estimand, estimand.replace("_", " ").capitalize())


def _findings_table(found: Sequence[Finding], block_id: str) -> Table:
    with_group = any(f.group is not None for f in found)
    with_slice = any(f.slice for f in found)
    extras = list(dict.fromkeys(k for f in found for k, v in f.extra.items() if isinstance(v, str | int | float)))
    head = [Column("Configuration"), Column("Outcome")]
    head += [Column("Group")] * with_group + [Column("Part")] * with_slice
    head += [Column("Estimate", True), Column("Interval", True), Column("p", True), Column("n", True), Column("Grader")]
    head += [Column(key.replace("_", " "), True) for key in extras]
    rows = []
    for f in found:
        cells = [Cell(f.config), Cell(f.outcome)]
        cells += [Cell(group_label(f.group))] * with_group
        cells += [Cell(", ".join(f"{k} {v}" for k, v in f.slice.items()))] * with_slice
        p = f.test.p if f.test else None
        interval = f"{_value(f, f.interval.low)} to {_value(f, f.interval.high)}" if f.interval else DASH
        cells += [
            cell(f.estimate, _value(f, f.estimate), f.reason),
            Cell(interval, sort=f.interval.low if f.interval else None),
            Cell(p_value(p), sort=p),
            Cell(count(f.n), sort=f.n),
            Cell(f.grader),
        ]
        cells += [_extra_cell(f.extra.get(key)) for key in extras]
        rows.append(tuple(cells))
    units = ", ".join(dict.fromkeys(f.unit for f in found if f.unit))
    return Table(
        id=block_id, columns=tuple(head), rows=tuple(rows), caption=f"Unit: {units}." if units else "", sortable=True
    )


def _value(f: Finding, value: float | None) -> str:
    if f.unit == "probability":
        return percent(value)
    if f.unit == "difference of probabilities":
        return f"{points(value)} points" if defined(value) else points(value)
    return number(value)


def _extra_cell(value: object) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("" if value is None else str(value))
    return Cell(number(value), sort=value if defined(value) else None)
