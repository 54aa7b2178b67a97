"""The closing table of the pluralism audit: sensitivity beside its null, disparities, agreement, and what people say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.methods.pluralism.rating.agreement import ALPHA, ICC, RHO
from evenhand.methods.pluralism.rating.asked import ORDER, STATUS
from evenhand.methods.pluralism.rating.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.groups import DPD, EOD
from evenhand.methods.pluralism.rating.human import CALIBRATION
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import PROFILES, ends_of, one, scale_number, sensitivity_of
from evenhand.records import Finding
from evenhand.runs.method import Headline
from evenhand.wording import between, p_value, percent


def headlines(findings: Sequence[Finding], config: str, *, several: bool) -> Iterator[Headline]:
    """Rows of the closing table for one configuration."""
    before = f"{config}: " if several else ""
    raters = PEOPLE if config == PEOPLE else PROFILES
    view = {"view": VIEWS[0]} if config == PEOPLE else {}
    for f in sensitivity_of(findings, config, raters):
        told = ends_of(f) if f.estimate is not None else f.reason
        null = f", shuffled {scale_number(f.extra['null_mean'])}" if f.extra.get("null_mean") is not None else ""
        p = f.test.p_holm if f.test else None
        yield Headline(
            f"{before}distance of two groups, {f.slice['axis']}{null}", scale_number(f.estimate), told, p_value(p)
        )
    for estimand in (DPD, EOD):
        own = [f for f in findings if (f.estimand, f.config) == (estimand, config) and f.estimate is not None]
        own = [f for f in own if f.slice.get("raters") == raters and f.slice.get("view", VIEWS[0]) == VIEWS[0]]
        most = max(own, key=lambda f: float(f.extra["excess"] or 0.0), default=None)
        if most is not None:
            ends = between(most.interval.low, most.interval.high) if most.interval else most.reason
            name = "parity difference" if estimand == DPD else f"odds difference (truth: {most.extra['truth']})"
            p = most.test.p_holm if most.test else None
            yield Headline(f"{before}{name}, {most.slice['axis']}", percent(most.estimate), ends, p_value(p))
    rows = ((ICC, "ICC(2,1)", "ICC(2,1)"), (ICC, "ICC(2,k)", "ICC(2,k)"), (ALPHA, "nominal", "Krippendorff's alpha"),
            (RHO, "Spearman", "mean rank correlation"))  # fmt: skip
    for estimand, outcome, name in rows:
        found = one(findings, estimand, config, outcome, raters=raters, **view)
        if found is not None:
            k = f" (k = {found.extra['k']:g})" if outcome == "ICC(2,k)" else ""
            told = ends_of(found) if found.estimate is not None else found.reason
            yield Headline(f"{before}{name}{k}, raters: {raters}", scale_number(found.estimate), told)
    for f in findings:
        if (f.estimand, f.outcome, f.config, f.group) == (CALIBRATION, "correlation", config, None):
            corrected = f.extra.get("corrected")
            more = f" (corrected {scale_number(corrected)})" if corrected is not None else ""
            told = ends_of(f) if f.estimate is not None else f.reason
            p = f.test.p_holm if f.test else None
            yield Headline(
                f"{before}correlation with people, {f.slice['axis']}{more}", scale_number(f.estimate), told, p_value(p)
            )
    order = one(findings, ORDER, config)
    if order is not None:
        yield Headline(f"{before}options turned round", scale_number(order.estimate), ends_of(order))
    refused = one(findings, STATUS, config, "refused")
    if refused is not None and refused.interval is not None:
        ends = between(refused.interval.low, refused.interval.high)
        yield Headline(f"{before}questions refused", percent(refused.estimate), ends)
