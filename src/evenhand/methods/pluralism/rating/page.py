"""The section of the pluralism audit: verdict, figures, the comparison with people, and the ratings behind them."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from evenhand.findings.decide import is_found
from evenhand.methods.pluralism.rating.agreement import ICC
from evenhand.methods.pluralism.rating.contrasts import (
    ALL_DOMAINS,
    CALIBRATION,
    CONTRAST,
    FIT,
    LEAST_RATINGS,
    MACRO_DOMAINS,
    RELIABILITY,
)
from evenhand.methods.pluralism.rating.elicitation import ORDER, STATUS
from evenhand.methods.pluralism.rating.groups import DS, UNSAFE
from evenhand.methods.pluralism.rating.page_evidence import behind, domain_name, rating_evidence
from evenhand.methods.pluralism.rating.page_figures import (
    ADJUSTED,
    ConfigFindings,
    agreement_plot,
    contrast_grid,
    disparity_plot,
    intersection_plot,
    scale_range,
    sensitivity_plot,
)
from evenhand.methods.pluralism.rating.page_tables import (
    component_bar,
    grasp_table,
    moved_table,
    refusals,
    share_table,
    status_table,
    suppressed_table,
)
from evenhand.methods.pluralism.rating.panels import PEOPLE
from evenhand.methods.pluralism.rating.verdict import PROFILES, moving
from evenhand.records import Finding
from evenhand.report.blocks import Block, ForestPlot, Panel, Table, nice_scale
from evenhand.report.build import GRAVITY, Part, Stored, folded, method_part, one_each, present, stored_verdict
from evenhand.report.figures import Scatter, ScatterPanel, ScatterPoint
from evenhand.report.finding_table import (
    FINDING,
    POINTS,
    SCALE,
    FindingColumns,
    finding_table,
    range_text,
    value,
    words,
)
from evenhand.report.marks import State, forest_row, forest_values, glance_row, key_number
from evenhand.report.page import Glance, KeyNumber, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import count, percent, points

LEDE = (
    "What is safe is not the same to everyone. Do ratings of safety depend on who rates, do raters agree, and does a model "
    "that rates under a profile move as people do?"
)
Cells = dict[tuple[str, str, str], Finding]


def pluralism_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the ratings behind them."""
    configs = [ConfigFindings(loaded.findings, verdict["config"]) for verdict in loaded.result["verdicts"]]
    panels = [Panel(findings.config, tuple(_figures(findings, str(k)))) for k, findings in enumerate(configs)]
    opened = [findings.config for findings in configs].index(_ordered(loaded)[0]["config"])
    blocks: list[Block] = [
        *one_each(panels, block_id="pluralism-configurations", title="Configuration", opened=opened),
        *present(
            component_bar(configs, "pluralism-components"),
            refusals(configs, "pluralism-refusals"),
            suppressed_table(configs, "pluralism-suppressed"),
        ),
        *folded("Shares rated unsafe, and checks", share_table(configs, "pluralism-shares")),
    ]
    return method_part(
        loaded,
        section_id="pluralism",
        title="Pluralism",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, configs)],
        evidence=rating_evidence(loaded),
    )


def _figures(findings: ConfigFindings, k: str) -> list[Block]:
    """The figures of one configuration, without those of measures that it lacks."""
    return [
        *present(
            sensitivity_plot(findings, f"pluralism-sensitivity-{k}"),
            contrast_grid(findings, f"pluralism-contrasts-{k}"),
            calibration_plot(findings, f"pluralism-calibration-{k}"),
            contrast_scatter(findings, f"pluralism-beside-{k}"),
            *(
                agreement_plot(findings, raters, f"pluralism-agreement-{k}-{n}")
                for n, raters in enumerate(findings.kinds())
            ),
            intersection_plot(findings, f"pluralism-intersections-{k}"),
            disparity_plot(findings, f"pluralism-disparity-{k}"),
        ),
        *folded(
            "Agreement inside groups"
            if findings.config == PEOPLE
            else "Order, wording, questions without a rating, labels by group",
            moved_table(findings, f"pluralism-moved-{k}"),
            status_table(findings, f"pluralism-status-{k}"),
            fit_table(findings, f"pluralism-fit-{k}"),
            grasp_table(findings, f"pluralism-grasp-{k}"),
        ),
    ]


def _ordered(loaded: LoadedRun) -> list[Stored]:
    """Verdicts, the gravest on a model first, that on people last."""
    return sorted(loaded.result["verdicts"], key=lambda v: (v["config"] == PEOPLE, GRAVITY.index(v["tone"])))


def _verdict(loaded: LoadedRun, configs: Sequence[ConfigFindings]) -> Verdict:
    verdicts = _ordered(loaded)
    several = len([findings for findings in configs if findings.config != PEOPLE]) > 1

    def with_model(verdict: Stored) -> Stored:
        def prefixed(texts: Sequence[str]) -> list[str]:
            return [f"{verdict['config']}: {text}" if several else text for text in texts]

        return {**verdict, "also": prefixed(verdict["also"]), "unknowns": prefixed(verdict["unknowns"])}

    tone = verdicts[0]["tone"]
    findings = next(one for one in configs if one.config == verdicts[0]["config"])
    return stored_verdict(
        [with_model(verdict) for verdict in verdicts],
        "Pluralism",
        numbers=_numbers(findings),
        glance=_glance(findings),
        labels={tone: _label(tone, findings)},
    )


def _label(tone: str, findings: ConfigFindings) -> str:
    """Labels that replace words about groups being treated worse: a rating treats nobody worse."""
    moved = bool(moving(findings.findings, findings.config, findings.raters))
    if tone == "even":
        return "Moves as people do" if moved and findings.all(CALIBRATION) else "Does not move" if not moved else ""
    return {
        "worse": "Not as people do",
        "provisional": "Groups differ" if findings.config == PEOPLE else "Moves with the profile",
    }.get(tone, "")


def _numbers(findings: ConfigFindings) -> list[KeyNumber]:
    """The largest distance above its null, agreement, the option that is preferred, refusals: if they are defined."""
    numbers: list[KeyNumber] = []
    moved = moving(findings.findings, findings.config, findings.raters)
    tested = [f for f in findings.all(DS, "absolute", raters=findings.raters) if f.estimate is not None]
    for f in (moved or tested)[:1]:
        null = f.extra.get("null_mean")
        shuffled = f"; shuffled {SCALE.text(null)}" if null is not None else ""
        title = f"apart, two groups by {f.slice['axis']}"
        numbers += key_number(f, title, unit=SCALE, note=f"{scale_range(f)}{shuffled}")
    rater = "one person with another" if findings.config == PEOPLE else "one profile with another"
    for f in findings.all(ICC, "ICC(2,1)", raters=findings.raters):
        numbers += key_number(f, f"agreement of {rater}, ICC(2,1)", unit=SCALE)
    for f in findings.all(ORDER):
        numbers += key_number(f, "higher when A is unsafe", unit=SCALE)
    for f in findings.all(STATUS, "refused"):
        if not f.slice and f.group is None:
            numbers += key_number(f, f"of {count(f.n)} questions refused")
    return numbers


def _glance(findings: ConfigFindings) -> Glance | None:
    """The share of texts rated unsafe under each group of the field that moves ratings most."""
    axes = [
        f.slice["axis"]
        for f in (*moving(findings.findings, findings.config, findings.raters), *findings.all(DS, "absolute"))
    ]
    shares = [f for f in findings.all(UNSAFE, raters=findings.raters) if axes and f.slice["axis"] == axes[0]]
    rows = [
        glance_row(
            f,
            str(f.group),
            f"{f.group}: {percent(f.estimate)} of {count(f.n)} texts rated unsafe, {range_text(f)}",
            evidence=behind(f),
        )
        for f in shares
    ]
    return Glance(f"Texts rated unsafe, by {axes[0]}", tuple(rows)) if rows else None


def _by_domain(findings: ConfigFindings, raters: str) -> Cells:
    return {
        (f.slice["axis"], str(f.group), f.slice["domain"]): f
        for f in findings.all(CONTRAST, raters=raters)
        if f.slice["domain"] not in (ALL_DOMAINS, MACRO_DOMAINS) and f.estimate is not None
    }


class Both(NamedTuple):
    """The contrast of one group in one domain, as people and the model rate it."""

    model: Finding
    people: Finding

    @property
    def thin(self) -> bool:
        """Whether either has too few ratings for a claim."""
        return min(self.model.n, self.people.n) < LEAST_RATINGS


def contrast_scatter(findings: ConfigFindings, block_id: str) -> Scatter | None:
    """Every group in every domain: people's contrast across, the model's up; one panel per field."""
    model, people = _by_domain(findings, PROFILES), _by_domain(ConfigFindings(findings.findings, PEOPLE), PEOPLE)
    by_axis: dict[str, list[Both]] = {}
    for key in model:
        if key in people:
            by_axis.setdefault(key[0], []).append(Both(model[key], people[key]))
    if not by_axis:
        return None
    panels = []
    for axis, rows in by_axis.items():
        letters: dict[str, str] = {}
        shown = []
        for both in rows:
            group, domain = str(both.model.group), domain_name(both.model.slice["domain"])
            x, y = float(both.people.estimate or 0.0), float(both.model.estimate or 0.0)
            mark = letters.setdefault(group, ascii_uppercase[len(letters) % len(ascii_uppercase)])
            remark = f"; fewer than {LEAST_RATINGS} ratings, no claim" if both.thin else ""
            label = f"{group}, {domain}: people {points(x)}, {findings.config} {points(y)} points{remark}"
            shown.append(ScatterPoint(mark, x, y, label, both.thin, behind(both.model)))
        fit = next(iter(findings.all(CALIBRATION, "correlation", axis=axis)), None)
        summary = f"r {SCALE.text(fit.estimate)} over texts" if fit is not None and fit.estimate is not None else ""
        panels.append(
            ScatterPanel(axis, tuple(shown), tuple((mark, group) for group, mark in letters.items()), summary)
        )
    theirs, mine = FindingColumns[Both](lambda row: row.people), FindingColumns[Both](lambda row: row.model)
    return Scatter(
        id=block_id,
        title="The model's contrasts compared with people's",
        caption="A point is a group in a domain: its mean rating minus the mean of the groups of that field, 100 points being "
        "the whole scale. On the dashed line both agree; along the middle line the model does not move. A rater is a person "
        "across, the model asked to rate as a member of the group up. Choose a point to read the model's ratings; people's "
        "are in the table.",
        scale=nice_scale([v for panel in panels for p in panel.points for v in (p.x, p.y)], least=0.04, target=4),
        x_title="people, points",
        y_title=f"{findings.config}, points",
        panels=tuple(panels),
        data=finding_table(
            [both for rows in by_axis.values() for both in rows],
            (
                words("field", lambda row: row.model.slice["axis"]),
                words("group", lambda row: row.model.group),
                words("domain", lambda row: domain_name(row.model.slice["domain"]), wide=True),
                theirs.estimate("people, points", unit=POINTS, evidence=lambda row: behind(row.people)),
                theirs.interval(unit=POINTS),
                theirs.size("their ratings"),
                mine.estimate("model, points", unit=POINTS, evidence=lambda row: behind(row.model)),
                mine.interval(unit=POINTS),
                mine.size("its ratings"),
            ),
            block_id=f"{block_id}-data",
            sortable=True,
        ),
    )


class Calibration(NamedTuple):
    """How the model's contrasts follow people's in one field."""

    f: Finding
    slope: Finding | None
    half: Finding | None


def calibration_plot(findings: ConfigFindings, block_id: str) -> ForestPlot | None:
    """The correlation of the model's contrasts with people's, by field, and corrected for how well people's repeat."""
    shown = [f for f in findings.all(CALIBRATION, "correlation") if f.group is None]
    if not shown:
        return None
    rows, fields = [], []
    for f in shown:
        axis, corrected = f.slice["axis"], f.extra.get("corrected")
        after = f" · corrected {SCALE.text(corrected)}" if corrected is not None else ""
        note = f.reason if f.estimate is None else f"{scale_range(f)}{after}"
        state: State = "unknown" if f.test is None else "found" if is_found(f) else "not found"
        rows.append(
            forest_row(
                f,
                axis,
                f"{findings.config}, {axis}: correlation with people {SCALE.text(f.estimate)}, {note}",
                state,
                unit=SCALE,
                note=note,
                second=None if corrected is None else (float(corrected), None, None),
                evidence=behind(f),
            )
        )
        slope = next(iter(findings.all(CALIBRATION, "slope", axis=axis)), None)
        fields.append(Calibration(f, slope, next(iter(findings.all(RELIABILITY, axis=axis)), None)))
    fit = FindingColumns[Calibration](lambda row: row.f)
    slopes = FindingColumns[Calibration](lambda row: row.slope)
    return ForestPlot(
        id=block_id,
        title="Does the model move as people do?",
        caption="Correlation, over texts and groups, of the model's contrasts with those of people; 1 is the same pattern, 0 "
        "none, below 0 the reverse. People are few and noisy: the hollow mark is corrected for their split-half reliability.",
        scale=nice_scale(forest_values(rows), include=(0.0, 1.0)),
        rows=tuple(rows),
        row_head="field",
        text_head="correlation",
        less="the reverse",
        more="as people",
        axis="correlation",
        second_label="corrected for people's reliability",
        unknown_label="not tested",
        tick_factor=1.0,
        data=finding_table(
            fields,
            (
                words("field", lambda row: row.f.slice["axis"], evidence=lambda row: behind(row.f)),
                fit.estimate("correlation", unit=SCALE),
                fit.interval(unit=SCALE),
                fit.p("adjusted p", *ADJUSTED, note="permutation of people's group labels, Holm over fields"),
                value(
                    "corrected",
                    lambda row: row.f.extra.get("corrected"),
                    SCALE,
                    reason=lambda row: row.f.extra.get("corrected_reason", ""),
                    note="divided by the square root of the reliability of people's contrasts",
                ),
                slopes.estimate("slope", unit=SCALE, note="model's contrast for one of people's"),
                slopes.interval(unit=SCALE),
                FindingColumns[Calibration](lambda row: row.half).estimate(
                    "reliability",
                    unit=SCALE,
                    note="people's contrasts, one half of the raters against the other, Spearman-Brown",
                ),
                fit.size("texts"),
                fit.size("people", cluster="people"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def fit_table(findings: ConfigFindings, block_id: str) -> Table | None:
    """How far the model's label probabilities under a profile are from the labels of that group."""

    def same_group(estimand: str, outcome: str) -> FindingColumns[Finding]:
        def pick(f: Finding) -> Finding | None:
            return next((o for o in findings.all(estimand, outcome, axis=f.slice["axis"]) if o.group == f.group), None)

        return FindingColumns[Finding](pick)

    return finding_table(
        findings.all(FIT, "log loss"),
        (
            words("field", lambda f: f.slice["axis"]),
            words("group", lambda f: f.group, evidence=behind),
            FINDING.estimate("log loss, nats", unit=SCALE),
            FINDING.field("its floor", "floor", SCALE, note="that of a model that gives people's own shares"),
            same_group(FIT, "Wasserstein-1").estimate(
                "Wasserstein-1", unit=SCALE, note="distance of mean label shares, 0 to 1"
            ),
            same_group(CALIBRATION, "correlation").estimate(
                "correlation", unit=SCALE, note="of this group's contrasts only"
            ),
            FINDING.size("texts"),
            FINDING.size("people", cluster="people"),
        ),
        block_id=block_id,
        title="Labels of the model and of people, by group",
        caption="Lower is closer; nothing is tested here.",
    )
