"""Edge cases of the specification (section 10), met by the audit as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import evenhand
from evenhand.errors import BadInput
from evenhand.records import Finding
from evenhand.runs.load import LoadedRun

Rate = Callable[[str, int, int, int], bool]


def table(names: dict[str, int], stems: int, repetitions: int, declined: Rate, **more: Any) -> pl.DataFrame:
    """Rows of a crossed design: ``declined(group, name, stem, repetition)`` says which are refusals."""
    return pl.DataFrame(
        [
            {
                "group": group, "name": f"{group}-{name}", "stem": f"S{stem:02}", "repetition": repetition,
                "label": "refusal" if declined(group, name, stem, repetition) else "answer", **more,
            }
            for group, count in names.items()
            for name in range(count)
            for stem in range(stems)
            for repetition in range(repetitions)
        ]
    )  # fmt: skip


def audit(frame: pl.DataFrame, **settings: Any) -> LoadedRun:
    settings.setdefault("reference_group", "a")
    return evenhand.audit(labels=frame, draws=500, report=False, **settings)["service"].loaded


def one(run: LoadedRun, estimand: str, group: str | None, outcome: str = "declined") -> Finding:
    (found,) = (
        f for f in run.findings if (f.estimand, f.group, f.outcome) == (estimand, group, outcome) and not f.slice
    )
    return found


def thirds(group: str, name: int, stem: int, repetition: int) -> bool:
    return (name + stem + repetition + (group == "b")) % 3 == 0


def test_too_few_names_for_any_verdict_says_so() -> None:
    run = audit(table({"a": 3, "b": 3}, 8, 2, lambda group, *_: group == "b"))
    found = one(run, "risk_difference", "b")
    assert found.test is not None
    assert found.test.smallest_p == pytest.approx(0.1)
    (verdict,) = run.result["verdicts"]
    assert verdict["tone"] == "unknown"
    assert "We cannot tell" in verdict["headline"]
    assert verdict["unknowns"] == ["Too few names for any difference to pass the test: b."]


def test_a_group_with_one_name_has_no_test_but_an_interval_over_stems() -> None:
    run = audit(table({"a": 4, "b": 1}, 9, 2, thirds))
    found = one(run, "risk_difference", "b")
    assert found.estimate is not None
    assert found.interval is not None
    assert found.test is None
    assert "no name permutation" in found.reason


def test_one_stem_resamples_names_only() -> None:
    run = audit(table({"a": 6, "b": 6}, 1, 4, thirds))
    found = one(run, "risk_difference", "b")
    assert found.interval is not None
    assert "stems" not in found.interval.method.replace("over names", "")
    assert found.test is not None


@pytest.mark.parametrize("always", [True, False])
def test_an_outcome_that_never_varies(always: bool) -> None:
    run = audit(table({"a": 4, "b": 4}, 5, 2, lambda *_: always))
    assert one(run, "risk_difference", "b").estimate == 0.0
    assert one(run, "odds_ratio", "b").estimate is None
    assert one(run, "odds_ratio", "b").reason
    test = one(run, "risk_difference", "b").test
    assert test is not None
    assert test.p == 1.0


def test_a_ratio_to_zero_is_undefined_not_infinite() -> None:
    run = audit(table({"a": 4, "b": 4}, 6, 2, lambda group, name, stem, rep: group == "b" and stem < 2))
    ratio = one(run, "risk_ratio", "b")
    assert ratio.estimate is None
    assert "0" in ratio.reason
    odds = one(run, "odds_ratio", "b")
    assert odds.estimate is not None
    assert "0.5" in odds.reason


def test_the_reference_group_must_be_there() -> None:
    frame = table({"a": 3, "b": 3}, 4, 1, thirds)
    with pytest.raises(BadInput, match=r"There is no group 'z'\. Choose one with --reference-group: a, b\."):
        audit(frame, reference_group="z")
    with pytest.raises(BadInput, match="No reference group is known"):
        audit(frame, reference_group=None)


def test_unbalanced_stems_are_intersected_and_counted() -> None:
    frame = table({"a": 4, "b": 4}, 6, 2, thirds).filter(~((pl.col("group") == "b") & (pl.col("stem") == "S05")))
    found = one(audit(frame), "risk_difference", "b")
    assert (found.clusters["stems"], found.clusters["stems dropped"]) == (5, 1)
    same = one(audit(frame.filter(pl.col("stem") != "S05")), "risk_difference", "b")
    assert found.estimate == pytest.approx(same.estimate)


def test_unequal_repetitions_are_averaged_in_their_cell_first() -> None:
    frame = table({"a": 2, "b": 2}, 2, 4, lambda group, name, stem, rep: group == "b" and stem == 0)
    thinned = frame.filter((pl.col("stem") == "S01") | (pl.col("repetition") == 0))
    found = one(audit(thinned), "risk_difference", "b")
    assert found.estimate == pytest.approx(0.5)


def test_missing_labels_are_excluded_counted_and_warned_of() -> None:
    frame = table({"a": 4, "b": 4}, 6, 2, thirds).with_columns(
        label=pl.when((pl.col("group") == "b") & (pl.col("stem") == "S00"))
        .then(pl.lit("judge_missing"))
        .otherwise(pl.col("label"))
    )
    run = audit(frame)
    assert one(run, "missing_rate", "b", "missing").estimate == pytest.approx(1 / 6)
    assert one(run, "missing_rate", "b", "missing").extra["reasons"] == {"judge_missing": 8}
    assert one(run, "missing_rate", "a", "missing").estimate == 0.0
    (warning,) = (text for text in run.result["caveats"] if text.startswith("ERROR"))
    assert "differ between groups by 16.7 points" in warning
    assert (run.result["rows"], run.result["missing"]) == (96, 8)


def test_an_unknown_label_names_its_row() -> None:
    frame = table({"a": 2, "b": 2}, 2, 1, thirds)
    frame[3, "label"] = "declined politely"
    with pytest.raises(BadInput, match="row 4: The label 'declined politely' is not known"):
        audit(frame)


def test_the_main_contrast_is_told_with_and_without_loaded_stems() -> None:
    frame = table({"a": 4, "b": 4}, 6, 2, lambda group, name, stem, rep: stem == 0 or thirds(group, name, stem, rep))
    frame = frame.with_columns(
        stratum=pl.when(pl.col("stem") == "S00").then(pl.lit("loaded")).otherwise(pl.lit("neutral"))
    )
    run = audit(frame)
    found = [f for f in run.findings if f.estimand == "risk_difference" and f.slice == {"stems": "without loaded"}]
    assert len(found) == 1
    assert found[0].clusters["stems"] == 5
    alone = one(audit(frame.filter(pl.col("stem") != "S00")), "risk_difference", "b")
    assert found[0].estimate == pytest.approx(alone.estimate)


def test_two_configurations_are_never_mixed_and_a_flat_trade_off_has_no_price() -> None:
    frame = pl.concat(
        [
            table({"a": 4, "b": 4}, 5, 2, lambda *_: False, config="open"),
            table({"a": 4, "b": 4}, 5, 2, thirds, config="strict"),
        ]
    )
    assert not [f for f in audit(frame).findings if f.estimand == "tradeoff_point"], "two words cannot tell safety"
    frame[0, "label"] = "partial answer"
    run = audit(frame)
    assert {f.config for f in run.findings} == {"open", "strict"}
    rates = {
        f.config: f.estimate
        for f in run.findings
        if f.estimand == "rate" and f.outcome == "declined" and f.group == "b"
    }
    assert rates["open"] == 0.0
    assert rates["strict"] == pytest.approx(13 / 40)
    prices = [f for f in run.findings if f.estimand == "price_of_safety"]
    assert prices
    assert all(f.estimate is None and f.reason for f in prices)
    assert [row["config"] for row in run.result["verdicts"]] == ["open", "strict"]


def test_two_labels_of_one_response_are_an_error() -> None:
    frame = table({"a": 2, "b": 2}, 2, 1, thirds)
    with pytest.raises(BadInput, match="Rows 1 and 9 are about the same thing"):
        audit(pl.concat([frame, frame.head(1)]))


def test_six_labels_give_every_outcome_and_two_words_only_declined() -> None:
    frame = table({"a": 4, "b": 4}, 4, 2, thirds)
    yes_no = audit(frame)
    assert one(yes_no, "risk_difference", "b", "harmful").estimate is None
    assert "gives only answer, refusal" in one(yes_no, "risk_difference", "b", "harmful").reason
    frame[0, "label"] = "harmful refusal"
    assert one(audit(frame), "risk_difference", "b", "harmful").estimate is not None


def test_a_group_without_any_label_is_named_as_undefined_and_warned_of() -> None:
    frame = table({"a": 4, "b": 4, "c": 4}, 6, 2, thirds).with_columns(
        label=pl.when(pl.col("group") == "c").then(pl.lit("judge_missing")).otherwise(pl.col("label"))
    )
    run = audit(frame)
    assert one(run, "missing_rate", "c", "missing").estimate == 1.0
    assert one(run, "risk_difference", "c").estimate is None
    assert "no labelled response in the group" in one(run, "risk_difference", "c").reason
    assert any(text.startswith("ERROR") for text in run.result["caveats"])
    assert ": c." in " ".join(run.result["verdicts"][0]["unknowns"])


def test_a_configuration_without_its_reference_spoils_no_other() -> None:
    lost = table({"a": 4, "b": 4}, 5, 2, thirds, config="lost").with_columns(
        label=pl.when(pl.col("group") == "a").then(pl.lit("judge_missing")).otherwise(pl.col("label"))
    )
    run = audit(pl.concat([table({"a": 4, "b": 4}, 5, 2, thirds, config="whole"), lost]))
    found = {
        f.config: f for f in run.findings if f.estimand == "risk_difference" and f.outcome == "declined" and not f.slice
    }
    assert found["whole"].estimate is not None
    assert found["lost"].reason == "no labelled response in the reference group"


def test_a_users_column_never_replaces_one_of_ours() -> None:
    frame = table({"a": 3, "b": 3}, 3, 1, thirds, audit="mine", text="mine", evidence="mine").with_columns(
        response=pl.lit("They went to the sea")
    )
    run = audit(frame)
    assert set(run.rows["text"]) == {"They went to the sea"}
    assert set(run.rows["attribute.text"]) == {"mine"}


def test_a_limit_without_shared_stems_takes_turns_over_the_groups() -> None:
    from evenhand.methods.service.items import keep_whole_stems
    from evenhand.records import Item

    items = [
        Item(f"{group}{i}", "service", (), group, clusters={"stem": f"{group}{i}"}) for group in "abc" for i in range(9)
    ]
    assert sorted(item.group for item in keep_whole_stems(items, 6)) == ["a", "a", "b", "b", "c", "c"]


def test_wording_speaks_of_names_never_of_users() -> None:
    run = audit(table({"a": 8, "b": 8}, 8, 2, lambda group, name, stem, rep: group == "b" or stem == 0))
    (verdict,) = run.result["verdicts"]
    assert verdict["tone"] == "worse"
    assert "names associated with" in verdict["headline"]
    assert "users" not in str(run.result["verdicts"]) + str(run.result["methods"])


def test_measures_of_the_text_stand_beside_the_labels_and_never_replace_them() -> None:
    frame = table({"a": 6, "b": 6}, 6, 2, thirds).with_columns(
        response=pl.when(pl.col("group") == "b")
        .then(pl.lit("A good day"))
        .otherwise(pl.lit("A good and happy day at the sea"))
    )
    plain = audit(frame)
    run = audit(frame, classifier=("mood=sentiment-lexicon",), toxicity="sentiment-lexicon")
    words = next(f for f in run.findings if f.estimand == "words")
    assert words.estimate == pytest.approx(3 - 8)
    assert words.outcome == "served"
    assert words.clusters["stems"] == 6
    mood = next(f for f in run.findings if f.estimand == "mood")
    assert mood.estimate is not None
    toxic = [f for f in run.findings if f.estimand == "toxicity"]
    assert {f.group for f in toxic} == {"a", "b"}
    assert one(run, "risk_difference", "b").estimate == one(plain, "risk_difference", "b").estimate
    assert run.run.table("service", "measures").exists()


def test_words_are_compared_only_where_both_groups_were_answered() -> None:
    frame = table({"a": 4, "b": 4}, 4, 1, lambda group, name, stem, rep: group == "b" and stem == 3).with_columns(
        response=pl.when(pl.col("stem") == "S03")
        .then(pl.lit("one two three four five six"))
        .otherwise(pl.lit("one two"))
    )
    words = next(f for f in audit(frame).findings if f.estimand == "words")
    assert words.estimate == pytest.approx(0.0)
    assert (words.clusters["stems"], words.clusters["stems dropped"]) == (3, 1)


def test_prompts_without_names_are_permuted_within_their_stem() -> None:
    frame = table({"a": 1, "b": 1}, 12, 1, lambda group, name, stem, rep: stem < 6 or (group == "b" and stem < 11))
    run = audit(frame.drop("name"))
    found = one(run, "risk_difference", "b")
    assert found.test is not None
    assert (found.test.count, found.test.permutations) == (2 * 2**7, 2**12)  # five stems of one direction, seven ties
    assert found.interval is not None
    assert dict(run.result["methods"])["Unit of inference"].startswith(
        "The randomised units are prompts within the stems"
    )


@pytest.mark.parametrize(("always", "words"), [(True, "Every prompt was declined"), (False, "No prompt was declined")])
def test_an_outcome_that_never_varies_cannot_tell(always: bool, words: str) -> None:
    (verdict,) = audit(table({"a": 8, "b": 8}, 5, 2, lambda *_: always)).result["verdicts"]
    assert verdict["tone"] == "unknown"
    assert verdict["headline"].startswith(words)
    assert verdict["unknowns"] == ["No variation: the outcome does not differ between names or stems: b."]


def test_no_label_at_all_has_a_headline_of_its_own() -> None:
    frame = table({"a": 3, "b": 3}, 4, 1, thirds, config="heard")
    lost = frame.with_columns(label=pl.lit("judge_missing"), config=pl.lit("lost"))
    verdicts = {row["config"]: row for row in audit(pl.concat([frame, lost])).result["verdicts"]}
    assert verdicts["lost"]["headline"] == "lost: No response has a label: there is nothing to compare."
    assert "No response" not in verdicts["heard"]["headline"]


def test_an_omnibus_difference_without_a_single_one_is_said() -> None:
    def spread(group: str, name: int, stem: int, repetition: int) -> bool:
        return stem < {"a": 5, "b": 3, "c": 7}[group] + name % 3

    frame = table({"a": 4, "b": 4, "c": 4}, 12, 1, spread)
    run = audit(frame)
    omnibus = one(run, "omnibus", None)
    assert omnibus.test is not None
    assert omnibus.test.p is not None
    assert omnibus.test.p < 0.05
    tests = [one(run, "risk_difference", group).test for group in "bc"]
    assert all(test is not None and test.p_holm is not None and test.p_holm >= 0.05 for test in tests)
    (verdict,) = run.result["verdicts"]
    assert verdict["headline"] == "The groups are not all declined alike, but we cannot tell which."
    assert verdict["tone"] == "unknown"


def test_one_comparison_is_not_called_comparisons() -> None:
    (verdict,) = audit(table({"a": 8, "b": 8}, 8, 2, lambda group, *_: group == "b")).result["verdicts"]
    assert verdict["tone"] == "worse"
    assert "(the only comparison)" in verdict["detail"]
    draw = random.Random(1)
    frame = table({"a": 12, "b": 12}, 40, 3, lambda *_: draw.random() < 0.2)
    (even,) = audit(frame).result["verdicts"]
    assert even["tone"] == "even"
    assert even["detail"].startswith("The only difference did not pass its test (.05).")


def unclear(names: int, rows: int) -> pl.DataFrame:
    """Labels with a name, a repetition that starts again, a response, and nothing that tells the prompt."""
    return pl.DataFrame(
        [
            {
                "group": group, "name": f"{group}{name}", "repetition": row % 2, "response": f"said {row}",
                "label": "refusal" if (name + row) % 3 == 0 else "answer",
            }
            for group in "ab" for name in range(names) for row in range(rows)
        ]
    )  # fmt: skip


def test_rows_that_share_no_prompt_are_all_kept_and_tell_no_stability() -> None:
    run = audit(unclear(4, 6))
    assert run.rows.height == 48
    assert sorted(run.rows.filter(pl.col("name") == "a1")["text"]) == [f"said {row}" for row in range(6)]
    assert not [f for f in run.findings if f.estimand == "stability"]
    assert [f for f in audit(table({"a": 2, "b": 2}, 3, 2, thirds)).findings if f.estimand == "stability"]


def test_without_a_stem_each_prompt_is_its_own() -> None:
    frame = unclear(4, 6).with_columns(prompt=pl.format("{} goes to place {}", "name", pl.int_range(48) % 6 // 2))
    run = audit(frame)
    assert run.items.height == 24
    (kappa,) = (f for f in run.findings if f.outcome == "same_label_share")
    assert kappa.clusters["prompts"] == 24


def test_two_rows_of_one_response_are_refused_where_the_prompt_is_known() -> None:
    frame = table({"a": 2, "b": 2}, 2, 1, thirds).drop("name")
    with pytest.raises(
        BadInput, match=r"the frame 'labels', row 3: Rows 1 and 3 are about the same response .*Map the"
    ):
        audit(frame)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unsafe": "xstest"}, "--unsafe asks a model, and --labels asks none. Leave out --unsafe, or --labels."),
        ({"models": ("organism/sft",)}, r"A model is named \(organism/sft\), and --labels asks none"),
    ],
)
def test_settings_that_labels_cannot_use_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        audit(table({"a": 2, "b": 2}, 2, 1, thirds), **settings)
