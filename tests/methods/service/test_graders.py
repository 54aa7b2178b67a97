"""The grader's error taken out of a difference, on the same stems as the difference as graded."""

from __future__ import annotations

import random

import polars as pl
import pytest

from evenhand.graders.calibration import Calibration, GroupErrors
from evenhand.methods.service.graders import Trust, corrected_findings
from evenhand.methods.service.statistics.contrasts import ContrastFamily, contrast_family
from evenhand.methods.service.table import COLLAPSES, FindingBuilder, ServiceTable, find_units
from evenhand.records import LABELS, Finding

SURE = {"tp": 400, "fn": 0, "tn": 400, "fp": 0}


def findings(kept: dict[str, range]) -> tuple[dict[tuple[str, str | None], Finding], ContrastFamily]:
    """Corrected findings where every group is asked these stems only, and the family as graded."""
    draw = random.Random(2)
    rows = pl.DataFrame(
        [
            {
                "config": "m", "item_id": f"{group}{name}/{stem:02}", "repetition": 0, "group": group, "stratum": "",
                "name": f"{group}{name}", "stem": f"{stem:02}",
                "label": "refusal" if draw.random() < stem / 12 else "answer",
            }
            for group, stems in kept.items() for name in range(5) for stem in stems
        ]
    )  # fmt: skip
    builder = FindingBuilder(
        ServiceTable("m", rows, list(kept), find_units(rows)), "rubric", frozenset(LABELS), 0, 2000
    )
    family = contrast_family(builder.table.cells(COLLAPSES["declined"]), 0, draws=2000)
    errors = {group: GroupErrors(group, **SURE) for group in kept}
    trust = Trust(True, "checked", {"m": Calibration("rubric", frozenset({"refusal"}), errors)})
    return {(f.estimand, f.group): f for f in corrected_findings(builder, trust, family)}, family


def test_a_sure_grader_leaves_the_difference_as_it_was_where_stems_were_dropped() -> None:
    found, family = findings({"a": range(8), "b": range(4, 12), "c": range(2, 10)})
    for contrast, group in zip(family.contrasts, "bc", strict=True):
        assert contrast.stems_dropped > 0
        fixed = found["risk_difference", group]
        assert fixed.estimate == pytest.approx(contrast.difference)
        assert fixed.interval is not None
        assert contrast.interval is not None
        assert fixed.interval.width == pytest.approx(contrast.interval.width, rel=0.4)
    assert found["rate", "b"].estimate == pytest.approx(family.rates[1].rate)


def test_groups_that_share_a_stem_with_the_reference_only_are_corrected_too() -> None:
    found, family = findings({"a": range(8), "b": range(4), "c": range(4, 8)})
    assert family.draws is None
    assert found["risk_difference", "b"].estimate == pytest.approx(family.contrasts[0].difference)


def test_groups_without_a_shared_stem_are_undefined_with_the_reason() -> None:
    found, _ = findings({"a": range(4), "b": range(4, 8), "c": range(2, 6)})
    fixed = found["risk_difference", "b"]
    assert (fixed.estimate, fixed.interval) == (None, None)
    assert fixed.reason == "the groups share no stem, so the grader's error cannot be taken out"
