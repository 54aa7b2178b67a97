"""Weights by severity, and repetition after duplicates are gone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.dart.repair.rows import TrainingRow
from evenhand.methods.dart.repair.weights import SEVERITIES, WEIGHTS, check_weights, weigh
from evenhand.records import Message

CHAT = (Message("user", "Does this rest on a difference?"),)


def repair(severity: str, name: str = "", target: str = "It does.") -> TrainingRow:
    return TrainingRow(name or f"case-{severity}", CHAT, target, severity=severity, task="repair")


ONE_EACH = [repair(severity) for severity in SEVERITIES]


def test_one_row_a_severity_weighs_one_to_four() -> None:
    weighed = weigh(ONE_EACH)
    assert [row.weight for row in weighed.rows] == [1, 2, 3, 4]
    assert (weighed.duplicates, weighed.dropped, weighed.unsaid) == (0, 0, 0)


def test_one_row_a_severity_becomes_ten_rows_after_duplicates_are_gone() -> None:
    weighed = weigh([*ONE_EACH, *ONE_EACH], mode="repeat")
    assert weighed.duplicates == 4
    assert [row.severity for row in weighed.rows] == [s for s in SEVERITIES for _ in range(int(WEIGHTS[s]))]
    assert {row.weight for row in weighed.rows} == {1.0}


def test_equal_text_stays_where_task_id_or_target_differ() -> None:
    rows = [
        repair("minor", "a"),
        repair("minor", "b"),
        repair("minor", "a", "It does not."),
        TrainingRow("a", CHAT, "It does."),
    ]
    assert weigh([*rows, rows[0]]).rows == rows
    assert weigh([*rows, rows[0]]).duplicates == 1


@given(st.lists(st.tuples(st.sampled_from(SEVERITIES), st.integers(0, 5), st.integers(0, 2)), max_size=30))
def test_repetition_and_loss_weights_say_the_same(drawn: list[tuple[str, int, int]]) -> None:
    rows = [repair(severity, f"case-{name}", f"Text {target}.") for severity, name, target in drawn]
    by_loss, by_count = weigh(rows), weigh(rows, mode="repeat")
    for row in by_loss.rows:
        assert sum(other.id == row.id and other.target == row.target for other in by_count.rows) == row.weight
    assert sum(row.weight for row in by_loss.rows) == len(by_count.rows)
    assert len(by_loss.rows) + by_loss.duplicates == len(rows)


def test_a_weight_of_zero_drops_the_row_and_counts_it() -> None:
    for mode in ("loss", "repeat"):
        weighed = weigh(ONE_EACH, {"minor": 0, "severe": "0"}, mode)
        assert {row.severity for row in weighed.rows} == {"moderate", "extreme"}
        assert weighed.dropped == 2


def test_an_absent_severity_weighs_one_and_is_counted() -> None:
    weighed = weigh([repair(""), repair("extreme")], {"minor": 3})
    assert [row.weight for row in weighed.rows] == [1, 4]
    assert weighed.unsaid == 1


def test_fractions_are_for_the_loss_only() -> None:
    assert [row.weight for row in weigh([repair("minor")], {"minor": 0.5}).rows] == [0.5]
    with pytest.raises(BadInput, match=r"'minor' is 0\.5"):
        weigh([repair("minor")], {"minor": 0.5}, "repeat")
    with pytest.raises(BadInput, match=r"'case-x'.*0\.25"):
        weigh([TrainingRow("case-x", CHAT, "Text.", weight=0.25)], mode="repeat")


def test_a_distillation_row_keeps_its_own_weight() -> None:
    assert weigh([TrainingRow("x", CHAT, "Text.", weight=0.25)], {"minor": 7}).rows[0].weight == 0.25


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "two", "", True, None])
def test_a_bad_weight_is_told_before_any_row(value: object) -> None:
    with pytest.raises(BadInput, match=re.escape(f"The weight of 'severe' is '{value}'")):
        check_weights({"severe": value})  # type: ignore[dict-item]
    with pytest.raises(BadInput, match="its weight"):
        weigh([TrainingRow("x", CHAT, "Text.", weight=value)])  # type: ignore[arg-type]


def test_an_unknown_word_is_told_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"'mild'.*minor, moderate, severe, extreme"):
        check_weights({"mild": 1})
    with pytest.raises(BadInput, match=r"'case-mild'.*'mild'"):
        weigh([repair("mild")])


def test_given_weights_stand_in_the_places_of_the_published_ones() -> None:
    assert check_weights({"extreme": "8"}) == {**WEIGHTS, "extreme": 8.0}
    assert check_weights() == {"minor": 1, "moderate": 2, "severe": 3, "extreme": 4}
