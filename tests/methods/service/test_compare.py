"""Two configurations on the same items: change of rates and of differences, paired by name and stem."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import evenhand
from evenhand.methods.service.compare import change_told
from evenhand.methods.service.graders import Trust
from evenhand.methods.service.page import service_section, service_verdict
from evenhand.records import Finding
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


def of(run: LoadedRun, estimand: str) -> dict[str | None, Finding]:
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
    changes, gaps = of(run, "configuration_change"), of(run, "gap_change")
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
    assert change_told(run.findings, "tuned", Trust(False, "not checked"), "names associated with") == ""


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
    assert not of(run, "configuration_change")
    assert not [text for row in run.result["verdicts"] for text in row["also"] if text.startswith("From ")]


def test_only_cells_of_both_configurations_count() -> None:
    whole = audit(frame("plain", worse_for_b), frame("tuned", worse_for_b))
    less = frame("tuned", worse_for_b).filter(pl.col("stem") != "S00")
    part = of(audit(frame("plain", worse_for_b), less), "configuration_change")
    same = of(audit(frame("plain", worse_for_b).filter(pl.col("stem") != "S00"), less), "configuration_change")
    assert part["b"].estimate == same["b"].estimate
    assert part["b"].clusters["stems"] == 9
    assert of(whole, "configuration_change")["b"].clusters["stems"] == 10


def test_a_group_of_one_name_has_no_test_of_its_change() -> None:
    found = of(
        audit(frame("plain", worse_for_b, names=1), frame("tuned", worse_for_b, names=1)), "configuration_change"
    )
    assert found["b"].test is None
    assert "one name has no sign to flip" in found["b"].reason


def test_prompts_without_names_flip_the_signs_of_stems() -> None:
    frames = [frame(config, worse_for_b, names=1).drop("name") for config in ("plain", "tuned")]
    run = audit(*frames)
    found = of(run, "configuration_change")["b"]
    assert found.test is not None
    assert found.test.permutations == 2**10
    assert found.clusters["names"] == 10
