"""Two configurations on the same items: changes paired by name and stem, and the trade-off of over-refusal and safety."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import evenhand
from evenhand.methods.service.configurations import NO_UNSAFE_LABEL, Point, tradeoff_findings
from evenhand.methods.service.graders import Trust
from evenhand.methods.service.page import service_section, service_verdict
from evenhand.methods.service.page_figures import trade_off
from evenhand.methods.service.page_tables import Index
from evenhand.methods.service.statistics.contrasts import contrast_family
from evenhand.methods.service.table import COLLAPSES, FindingBuilder, ServiceTable, find_units
from evenhand.methods.service.verdict import change_sentence
from evenhand.records import LABELS, Finding
from evenhand.report.blocks import Table
from evenhand.runs.load import LoadedRun
from evenhand.statistics.clusters import sign_flip_test
from evenhand.statistics.permutation import permutation_test

Rate = Callable[[str, str], float]


def frame(
    config: str, rate: Rate, *, groups: str = "abc", names: int = 8, stems: int = 10, **more: Any
) -> pl.DataFrame:
    """Labels of one configuration; each cell's luck is the same in every configuration."""
    draw = random.Random(5)
    return pl.DataFrame(
        [
            {
                "config": config, "group": group, "name": f"{group}{name}", "stem": f"S{stem:02}", "repetition": turn,
                "label": "refusal" if draw.random() < rate(config, group) else "answer", **more,
            }
            for group in groups for name in range(names) for stem in range(stems) for turn in range(2)
        ]
    )  # fmt: skip


def worse_for_b(config: str, group: str) -> float:
    return 0.15 + 0.4 * (config == "tuned" and group == "b")


def audit(*frames: pl.DataFrame, **settings: Any) -> LoadedRun:
    run = evenhand.audit(
        labels=pl.concat(frames), reference_group="a", draws=500, report=False, methods=("service",), **settings
    )
    return run["service"].loaded


def by_group(run: LoadedRun, estimand: str) -> dict[str | None, Finding]:
    return {finding.group: finding for finding in run.findings if finding.estimand == estimand}


@pytest.fixture(scope="module")
def run() -> LoadedRun:
    return audit(frame("plain", worse_for_b), frame("tuned", worse_for_b))


def test_changes_are_paired_by_name_and_stem_and_tested_over_names(run: LoadedRun) -> None:
    declined = run.rows.with_columns(y=(pl.col("label") == "refusal").cast(pl.Float64))
    by_name = declined.group_by("group", "name", "config").agg(pl.col("y").mean()).sort("name")
    wide = by_name.pivot("config", index=["group", "name"], values="y").with_columns(
        d=pl.col("tuned") - pl.col("plain")
    )
    base = wide.filter(pl.col("group") == "a")["d"].to_numpy()
    changes, gaps = by_group(run, "configuration_change"), by_group(run, "gap_change")
    assert list(changes) == ["a", "b", "c"]
    assert list(gaps) == ["b", "c"]
    for group, found in changes.items():
        values = wide.filter(pl.col("group") == group)["d"].to_numpy()
        assert found.estimate == pytest.approx(float(np.mean(values)))
        assert found.estimate == pytest.approx(found.extra["rate_to"] - found.extra["rate_from"])
        assert (found.config, dict(found.slice)) == ("tuned", {"from": "plain", "to": "tuned"})
        assert found.test is not None
        assert found.test.p == sign_flip_test(values).p
        if group in gaps:
            gap, test = gaps[group], permutation_test(values, base)
            assert test is not None
            assert gap.test is not None
            assert gap.test.p == pytest.approx(test.p)
            assert gap.test.family_size == 2
            assert gap.estimate == pytest.approx(float(np.mean(values) - np.mean(base)))
    assert changes["a"].estimate == 0.0
    assert changes["a"].interval is None
    assert "no variation" in changes["a"].reason
    assert gaps["b"].interval is not None
    assert gaps["b"].interval.low > 0.2


def test_the_verdict_says_what_tuning_changed(run: LoadedRun) -> None:
    told = {row["config"]: row["also"] for row in run.result["verdicts"]}
    assert not [text for text in told["plain"] if text.startswith("From ")]
    (sentence,) = (text for text in told["tuned"] if text.startswith("From "))
    assert sentence.startswith("From plain to tuned, the difference to names associated with “a” moved, in points")
    assert "): b +" in sentence
    assert sentence.endswith("), as graded.")
    assert ", c " not in sentence
    report = service_verdict(run.findings, run.result["verdicts"], calibrated=True)
    assert sentence in report.more
    assert change_sentence(run.findings, "tuned", Trust(False, "not checked"), "names associated with") == ""


def test_no_change_is_said_only_where_it_could_have_been_seen() -> None:
    def same(config: str, group: str) -> float:
        return 0.2

    def last(run: LoadedRun) -> str:
        return str(run.result["verdicts"][1]["also"][-1])

    copies = audit(frame("plain", same), frame("tuned", same))
    assert last(copies) == "From plain to tuned, we cannot tell whether the differences between groups changed."
    few = audit(frame("plain", same, names=2), frame("tuned", worse_for_b, names=2))
    assert last(few).endswith("we cannot tell whether the differences between groups changed.")
    shaken = frame("tuned", same, names=10, stems=30)
    at = pl.int_range(pl.len()) % 17 == 0
    shaken = shaken.with_columns(label=pl.when(at).then(pl.lit("refusal")).otherwise(pl.col("label")))
    steady = audit(frame("plain", same, names=10, stems=30), shaken)
    assert "no difference between groups was found to change; changes of about" in last(steady)


def test_the_report_shows_one_row_a_group(run: LoadedRun) -> None:
    section = service_section(run.findings)
    (table,) = (block for block in section.blocks if isinstance(block, Table) and block.id == "service-changes")
    assert table.title == "What changed between configurations: plain to tuned"
    assert sorted(row[0].text for row in table.rows) == ["a", "b", "c"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    (reference,) = (row for row in table.rows if row[0].text == "a")
    assert reference[-1].reason == "the reference group"


def test_three_configurations_are_compared_step_by_step() -> None:
    run = audit(*(frame(config, worse_for_b) for config in ("one", "two", "tuned")))
    steps = [tuple(f.slice.values()) for f in run.findings if f.estimand == "gap_change" and f.group == "b"]
    assert steps == [("one", "two"), ("two", "tuned")]
    section = service_section(run.findings)
    (table,) = (block for block in section.blocks if isinstance(block, Table) and block.id == "service-changes")
    assert len(table.rows) == 6
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_configurations_on_other_items_are_not_compared() -> None:
    other = frame("tuned", worse_for_b).with_columns(stem=pl.format("other {}", "stem"))
    run = audit(frame("plain", worse_for_b), other)
    assert not by_group(run, "configuration_change")
    assert not [text for row in run.result["verdicts"] for text in row["also"] if text.startswith("From ")]


def test_only_cells_of_both_configurations_count() -> None:
    whole = audit(frame("plain", worse_for_b), frame("tuned", worse_for_b))
    less = frame("tuned", worse_for_b).filter(pl.col("stem") != "S00")
    part = by_group(audit(frame("plain", worse_for_b), less), "configuration_change")
    same = by_group(audit(frame("plain", worse_for_b).filter(pl.col("stem") != "S00"), less), "configuration_change")
    assert part["b"].estimate == same["b"].estimate
    assert part["b"].clusters["stems"] == 9
    assert by_group(whole, "configuration_change")["b"].clusters["stems"] == 10


def test_a_group_of_one_name_has_no_test_of_its_change() -> None:
    found = by_group(
        audit(frame("plain", worse_for_b, names=1), frame("tuned", worse_for_b, names=1)), "configuration_change"
    )
    assert found["b"].test is None
    assert "one name has no sign to flip" in found["b"].reason


def test_prompts_without_names_flip_the_signs_of_stems() -> None:
    frames = [frame(config, worse_for_b, names=1).drop("name") for config in ("plain", "tuned")]
    run = audit(*frames)
    found = by_group(run, "configuration_change")["b"]
    assert found.test is not None
    assert found.test.permutations == 2**10
    assert found.clusters["names"] == 10


GROUPS = ("a", "b")


def graded_rows(stratum: str, every: int, config: str) -> pl.DataFrame:
    """Two groups of three names on six stems; every so many-th response is a refusal, the others answer."""
    keys = [(group, name, stem) for group in GROUPS for name in range(3) for stem in range(6)]
    return pl.DataFrame(
        [
            {
                "config": config, "item_id": f"{stratum}/{group}{name}/{stem}", "repetition": 0, "group": group,
                "name": f"{group}{name}", "stem": f"{stratum}{stem}", "stratum": stratum,
                "label": "refusal" if (name + stem) % every == 0 else "answer",
            }
            for group, name, stem in keys
        ]
    )  # fmt: skip


def point(config: str, every: int, unsafe_every: int | None) -> Point:
    def table(frame: pl.DataFrame) -> ServiceTable:
        return ServiceTable(config, frame, GROUPS, find_units(frame))

    builder = FindingBuilder(table(graded_rows("", every, config)), "grammar", frozenset(LABELS), 0, 100)
    family = contrast_family(builder.table.cells(COLLAPSES["declined"]), 0, draws=100)
    return Point(builder, family, None if unsafe_every is None else table(graded_rows("unsafe", unsafe_every, config)))


def by_config(findings: list[Finding], estimand: str) -> dict[str, Finding]:
    return {f.config: f for f in findings if f.estimand == estimand and f.group in (None, "a")}


def test_a_configuration_without_unsafe_labels_is_left_out_with_the_reason() -> None:
    found = tradeoff_findings([point("x", 3, 2), point("lost", 2, None), point("y", 2, 1)], unsafe=True)
    points, front = by_config(found, "tradeoff_point"), by_config(found, "pareto")
    assert points["x"].extra["y"] == pytest.approx(0.5)
    assert points["y"].extra["y"] == pytest.approx(1.0)
    assert {f.extra["y_axis"] for f in points.values()} == {"1 - compliance on the unsafe set"}
    assert (points["lost"].estimate, points["lost"].reason) == (None, NO_UNSAFE_LABEL)
    assert (front["lost"].estimate, front["lost"].reason) == (None, NO_UNSAFE_LABEL)
    assert [(f.slice["from"], f.slice["to"]) for f in found if f.estimand == "price_of_safety"] == [("x", "y")] * 2
    drawn = trade_off(Index(found), list(GROUPS), "t")
    assert drawn is not None
    assert [p.mark for p in drawn.series[0].points] == ["2", "3"]
    assert drawn.data is not None
    assert any(cell.reason == NO_UNSAFE_LABEL for row in drawn.data.rows for cell in row)


def test_one_configuration_left_is_no_trade_off_and_no_finding_is_hidden() -> None:
    found = tradeoff_findings([point("x", 3, 2), point("lost", 2, None)], unsafe=True)
    assert {f.config for f in found} == {"lost"}
    assert all(f.estimate is None and f.reason == NO_UNSAFE_LABEL for f in found)
    index = Index(found)
    assert trade_off(index, list(GROUPS), "t") is None
    assert index.rest == found


def test_without_an_unsafe_set_every_configuration_is_on_the_axis_of_its_own_prompts() -> None:
    found = tradeoff_findings([point("x", 3, None), point("y", 2, None)], unsafe=False)
    assert {f.extra["y_axis"] for f in found if f.estimand == "tradeoff_point"} == {
        "1 - harmful on the same prompts (no unsafe set was run)"
    }


def test_an_unknown_point_is_not_called_beaten() -> None:
    whole, empty = point("x", 3, 2), point("none", 2, 2)
    blank: Any = SimpleNamespace(rates=(), draws=None)
    found = by_config(
        tradeoff_findings([whole, Point(empty.builder, blank, empty.unsafe), point("y", 2, 1)], unsafe=True), "pareto"
    )
    assert found["none"].estimate is None
    assert "no group has both" in found["none"].reason
    assert {found["x"].estimate, found["y"].estimate} == {1.0}
