"""Tables of the safety audit: agreement of the graders, configurations in pairs, single openers, answers without a label."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.datasets.safety_prompts import category_name
from evenhand.findings.decide import is_found
from evenhand.methods.tsdi.safety.bias import SHIFT
from evenhand.methods.tsdi.safety.findings import AGREEMENT, COMPLIANCE, KAPPA, MACRO, SHARE, UNLABELLED
from evenhand.methods.tsdi.safety.pairs import CHANGE
from evenhand.methods.tsdi.safety.report.figures import behind, in_order
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, Table
from evenhand.report.scales import ends
from evenhand.wording import DASH, between, count, nats, number, p_value, percent, point_range, points


def agreement_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table:
    """Kappa and raw agreement of every two graders, and what each grader alone says of harmful requests."""
    rows = []
    for config in configs:
        for f in findings:
            if (f.estimand, f.config, f.outcome) == (AGREEMENT, config, KAPPA):
                low, high = ends(f)
                told = f"{number(low, 2)} to {number(high, 2)}" if low is not None else ""
                about = "compliance" if f.slice.get("kind") == "harmless" else "safety"
                rows.append(
                    (
                        Cell(config), Cell(f.slice["graders"]), Cell(f"{about}: Cohen's kappa"),
                        Cell(number(f.estimate, 2), sort=f.estimate, reason=f.reason if f.estimate is None else ""),
                        Cell(told), Cell(count(f.n), sort=f.n),
                    )
                )  # fmt: skip
                rows.append(
                    (
                        Cell(config), Cell(f.slice["graders"]), Cell(f"{about}: same label"),
                        Cell(percent(f.extra["observed"]), sort=f.extra["observed"]), Cell(""), Cell(count(f.n), sort=f.n),
                    )
                )  # fmt: skip
        for f in findings:
            alone = (
                f.config == config
                and f.group is None
                and f.estimand in (SHARE, MACRO, COMPLIANCE)
                and "grader" in f.slice
            )
            if alone:
                kind = f.slice.get("kind", "")
                what = {SHARE: "safe answers", MACRO: "safe, mean of the categories"}.get(
                    f.estimand, f"complied, {kind} requests"
                )
                rows.append(
                    (
                        Cell(config), Cell(f"{f.slice['grader']} alone"), Cell(what),
                        Cell(percent(f.estimate), sort=f.estimate, reason=f.reason), Cell(between(*ends(f))), Cell(count(f.n)),
                    )
                )  # fmt: skip
    if not rows:
        rows = [(Cell("every configuration"), Cell("one grader"), Cell("agreement"),
                 Cell(DASH, reason="there is one grader; the published score rests on two"), Cell(""), Cell(DASH))]  # fmt: skip
    columns = (
        Column("configuration"), Column("graders"), Column("measure", wide=True), Column("value", numeric=True),
        Column("95 % interval"), Column("n", numeric=True, help="answers for agreement, prompts for shares"),
    )  # fmt: skip
    return Table(
        id=block_id, title="Agreement of the graders", columns=columns, rows=tuple(rows),
        caption="Safe is what all graders call safe; each alone stands beside it.",
    )  # fmt: skip


def category_agreement(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Counts of equal and unequal labels by category, every two graders."""
    rows = []
    for config in configs:
        told = [f for f in findings if (f.estimand, f.config) == (AGREEMENT, config) and f.group is not None]
        for pair in dict.fromkeys(f.slice["graders"] for f in told):
            mine = {str(f.group): f for f in told if f.slice["graders"] == pair}
            for group in in_order(list(mine)):
                f = mine[group]
                x = f.extra
                rows.append(
                    (
                        Cell(config), Cell(pair), Cell(category_name(group), evidence=behind(config, "harmful", group)),
                        Cell(percent(f.estimate), sort=f.estimate, reason=f.reason), Cell(count(x["both"])),
                        Cell(count(x["neither"])), Cell(count(x["first_only"])), Cell(count(x["second_only"])),
                        Cell(count(x["missing"])),
                    )
                )  # fmt: skip
    columns = (
        Column("configuration"), Column("graders"), Column("category", wide=True), Column("same label", numeric=True),
        Column("both safe", numeric=True), Column("both unsafe", numeric=True), Column("first alone safe", numeric=True),
        Column("second alone safe", numeric=True), Column("without a label", numeric=True),
    )  # fmt: skip
    return Table(id=block_id, title="The graders by category", columns=columns, rows=tuple(rows)) if rows else None


def change_table(findings: Sequence[Finding], block_id: str, *, by_category: bool) -> Table | None:
    """Configurations in pairs on the same prompts: over all of each kind, or by category of the harmful ones."""
    rows = []
    for f in findings:
        if f.estimand != CHANGE or (f.group is not None) is not by_category:
            continue
        kind = f.slice.get("kind", "harmful")
        where = category_name(f.group) if f.group else "safe, harmful" if kind == "harmful" else f"complied, {kind}"
        p = f.test.p_holm if f.test else None
        rows.append(
            (
                Cell(f.config), Cell(f.reference or ""), Cell(where), Cell(percent(f.extra["first"]), sort=f.extra["first"]),
                Cell(percent(f.extra["second"]), sort=f.extra["second"]),
                Cell(points(f.estimate), sort=f.estimate, reason=f.reason if f.estimate is None else ""),
                Cell(point_range(*ends(f)), reason="" if f.interval else f.reason), Cell(p_value(p), sort=p),
                Cell("found" if is_found(f) else "not found"), Cell(count(f.n), sort=f.n),
            )
        )  # fmt: skip
    paired = "paired by prompt; Holm over the categories" if by_category else "paired by prompt; Holm over the kinds"
    columns = (
        Column("configuration"), Column("against"), Column("category" if by_category else "requests"),
        Column("before", numeric=True), Column("after", numeric=True), Column("change, points", numeric=True),
        Column("95 % interval"), Column("adjusted p", numeric=True, help=paired), Column("change"), Column("prompts", numeric=True),
    )  # fmt: skip
    title = "Configurations compared on the same prompts" + (", by category" if by_category else "")
    return Table(id=block_id, title=title, columns=columns, rows=tuple(rows), sortable=True) if rows else None


def opener_table(findings: Sequence[Finding], config: str, block_id: str) -> Table | None:
    """The openers one by one at the first position."""
    first = next(
        (f for f in findings if (f.estimand, f.config) == (SHIFT, config) and f.slice.get("position") == "1"), None
    )
    if first is None or not first.extra.get("tokens"):
        return None
    rows = tuple(
        (
            Cell(f"“{token}”"), Cell(nats(shift), sort=shift),
            Cell(f"{nats(shift - 1.96 * error)} to {nats(shift + 1.96 * error)}"), Cell(percent(likely, 2), sort=likely),
        )
        for token, shift, error, likely in first.extra["tokens"]
    )  # fmt: skip
    columns = (
        Column("token"), Column("shift, nats", numeric=True), Column("95 % interval"),
        Column("mean probability", numeric=True, help="the larger of both models', over the random contexts"),
    )  # fmt: skip
    return Table(id=block_id, title=f"{config}: openers at the first token", columns=columns, rows=rows, sortable=True)


def borderline_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Compliance by category of the borderline and benign requests."""
    rows = []
    for config in configs:
        for kind in ("borderline", "benign"):
            found = {
                str(f.group): f for f in findings
                if (f.estimand, f.config) == (COMPLIANCE, config) and f.group is not None and f.slice == {"kind": kind}
            }  # fmt: skip
            for group in in_order(list(found)):
                f = found[group]
                rows.append(
                    (
                        Cell(config), Cell(kind), Cell(category_name(group), evidence=behind(config, kind, group)),
                        Cell(percent(f.estimate), sort=f.estimate, reason=f.reason), Cell(between(*ends(f))), Cell(count(f.n)),
                    )
                )  # fmt: skip
    columns = (
        Column("configuration"), Column("requests"), Column("category", wide=True), Column("complied", numeric=True),
        Column("95 % interval"), Column("prompts", numeric=True),
    )  # fmt: skip
    title = "Harmless requests by category"
    return Table(id=block_id, title=title, columns=columns, rows=tuple(rows), sortable=True) if rows else None


def unlabelled_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table:
    """Answers that failed, were empty, unclear or cut, by kind and category; rows without any are left out, but for the totals."""
    rows = []
    for f in findings:
        if f.estimand != UNLABELLED or f.config not in configs:
            continue
        x, kind = f.extra, f.slice.get("kind", "harmful")
        if f.group is not None and not (f.estimate or x["cut"]):
            continue
        counts = [Cell(count(x[key]), sort=x[key]) for key in ("failed", "empty", "unclear", "cut", "cut_unlabelled")]
        rows.append(
            (
                Cell(f.config), Cell(kind),
                Cell(category_name(f.group) if f.group else "all", evidence=behind(f.config, kind, f.group or "")),
                Cell(percent(f.estimate), sort=f.estimate), *counts, Cell(count(f.n), sort=f.n),
            )
        )  # fmt: skip
    columns = (
        Column("configuration"), Column("requests"), Column("category", wide=True), Column("no label", numeric=True),
        Column("failed", numeric=True), Column("empty", numeric=True), Column("unclear", numeric=True),
        Column("cut", numeric=True, help="stopped at the token limit"), Column("cut, no label", numeric=True),
        Column("answers", numeric=True),
    )  # fmt: skip
    return Table(id=block_id, title="Answers without a label", columns=columns, rows=tuple(rows))
