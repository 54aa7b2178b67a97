"""The closing table of the pluralism audit: sensitivity with its null, disparities, agreement, and what people say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.findings.builder import select
from evenhand.methods.pluralism.rating.agreement import ALPHA, ICC, RHO
from evenhand.methods.pluralism.rating.asked import ORDER, STATUS
from evenhand.methods.pluralism.rating.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.groups import DPD, EOD
from evenhand.methods.pluralism.rating.human import CALIBRATION
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import PROFILES, ends_of, one, scale_number, sensitivity_of
from evenhand.records import Finding
from evenhand.runs.method import SHARE, Headline, holm_p
from evenhand.runs.method import ends_of as interval_of
from evenhand.wording import p_value, percent


def headlines(findings: Sequence[Finding], config: str, *, several: bool) -> Iterator[Headline]:
    """Rows of the closing table for one configuration."""
    before = f"{config}: " if several else ""
    raters = PEOPLE if config == PEOPLE else PROFILES
    view = {"view": VIEWS[0]} if config == PEOPLE else {}
    for f in sensitivity_of(findings, config, raters):
        null = f", shuffled {scale_number(f.extra['null_mean'])}" if f.extra.get("null_mean") is not None else ""
        yield _row(f"{before}distance of two groups, {f.slice['axis']}{null}", f, p_value(holm_p(f)))
    for estimand in (DPD, EOD):
        axes = select(findings, estimand, config, having={"raters": raters})
        axes = [f for f in axes if f.estimate is not None and f.slice.get("view", VIEWS[0]) == VIEWS[0]]
        most = max(axes, key=lambda f: float(f.extra["excess"] or 0.0), default=None)
        if most is not None:
            name = "parity difference" if estimand == DPD else f"odds difference (truth: {most.extra['truth']})"
            what = f"{before}{name}, {most.slice['axis']}"
            yield Headline(what, percent(most.estimate), interval_of(most, SHARE, most.reason), p_value(holm_p(most)))
    rows = ((ICC, "ICC(2,1)", "ICC(2,1)"), (ICC, "ICC(2,k)", "ICC(2,k)"), (ALPHA, "nominal", "Krippendorff's alpha"),
            (RHO, "Spearman", "mean rank correlation"))  # fmt: skip
    for estimand, outcome, name in rows:
        agreement = one(findings, estimand, config, outcome, raters=raters, **view)
        if agreement is not None:
            k = f" (k = {agreement.extra['k']:g})" if outcome == "ICC(2,k)" else ""
            yield _row(f"{before}{name}{k}, raters: {raters}", agreement)
    for f in select(findings, CALIBRATION, config, "correlation", group=None):
        corrected = f.extra.get("corrected")
        more = f" (corrected {scale_number(corrected)})" if corrected is not None else ""
        yield _row(f"{before}correlation with people, {f.slice['axis']}{more}", f, p_value(holm_p(f)))
    order = one(findings, ORDER, config)
    if order is not None:
        yield Headline(f"{before}options turned round", scale_number(order.estimate), ends_of(order))
    refused = one(findings, STATUS, config, "refused")
    if refused is not None and refused.interval is not None:
        yield Headline(f"{before}questions refused", percent(refused.estimate), interval_of(refused, SHARE))


def _row(what: str, f: Finding, p: str = "") -> Headline:
    """A number on the rating scale, or a coefficient, with its interval or why it is undefined."""
    return Headline(what, scale_number(f.estimate), ends_of(f) if f.estimate is not None else f.reason, p)
