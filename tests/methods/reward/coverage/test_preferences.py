"""Preference data: every shape, bad rows, mentions, intervals and differences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from statsmodels.stats.proportion import proportion_confint

from evenhand.errors import BadInput
from evenhand.graders.content import open_classifier
from evenhand.methods.reward.coverage.preferences import (
    LEAST_PAIRS,
    Preference,
    PreferenceAudit,
    Share,
    audit_preferences,
    read_preferences,
    read_targets,
)

Finder = Callable[[str], Path]


class Length:
    """The number of characters, as a classifier."""

    name, unit, identity = "length", "characters", "length"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def measure(self, texts: Sequence[str]) -> list[float]:
        self.seen += texts
        return [float(len(text)) for text in texts]


def frame(**columns: Sequence[Any]) -> pl.DataFrame:
    return pl.DataFrame({name: list(values) for name, values in columns.items()})


def share(audit: PreferenceAudit, what: str) -> Share:
    return next(entry for entry in audit.shares if entry.what == what)


def messages(
    *texts: str, keys: tuple[str, str] = ("role", "content"), roles: tuple[str, str] = ("user", "assistant")
) -> str:
    return json.dumps([{keys[0]: roles[i % 2], keys[1]: text} for i, text in enumerate(texts)])


WANTED = Preference(1, "Who?", "Yes.", "No.")
SHAPES = {
    "strings": frame(prompt=["Who?"], chosen=["Yes."], rejected=["No."]),
    "dialogues": frame(chosen=["\n\nHuman: Who?\n\nAssistant: Yes."], rejected=["\n\nHuman: Who?\n\nAssistant: No."]),
    "messages": frame(chosen=[messages("Who?", "Yes.")], rejected=[messages("Who?", "No.")]),
    "prompt and messages": frame(
        prompt=["Who?"], chosen=[messages("Who?", "Yes.")], rejected=[messages("Who?", "No.")]
    ),
    "from and value": frame(
        chosen=[messages("Who?", "Yes.", keys=("from", "value"), roles=("human", "gpt"))],
        rejected=[messages("Who?", "No.", keys=("from", "value"), roles=("human", "gpt"))],
    ),
    "prompt as messages": frame(prompt=[messages("Who?")], chosen=["Yes."], rejected=["No."]),
    "numbered": frame(prompt=["Who?"], response_0=["No."], response_1=["Yes."], safer_response_id=["1"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_pair(shape: str) -> None:
    ((pair,), failed, _) = read_preferences(SHAPES[shape])
    assert failed == ()
    assert (pair.prompt.removeprefix("\n\nHuman: "), pair.chosen.strip(), pair.rejected.strip()) == (
        WANTED.prompt,
        WANTED.chosen,
        WANTED.rejected,
    )


def test_nested_files_are_read(tmp_path: Path) -> None:
    turns = {end: json.loads(messages("Who?", text)) for end, text in (("chosen", "Yes."), ("rejected", "No."))}
    (tmp_path / "a.jsonl").write_text(json.dumps(turns) + "\n")
    pl.DataFrame({end: [value] for end, value in turns.items()}).write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert read_preferences(tmp_path / name)[0] == [WANTED]


def test_the_choice_is_never_guessed() -> None:
    table = frame(
        prompt=["Who?"], response_0=["a"], response_1=["b"], better_response_id=["0"], safer_response_id=["1"]
    )
    with pytest.raises(BadInput, match=r"Both better_response_id and safer_response_id say which .* --map choice="):
        read_preferences(table)
    assert read_preferences(table, {"choice": "better_response_id"})[0][0].chosen == "a"
    assert read_preferences(table, {"choice": "safer_response_id"})[0][0].chosen == "b"


def test_a_table_of_no_known_shape_is_told() -> None:
    with pytest.raises(BadInput, match=r"There is no column 'chosen'\. Found: prompt, safe"):
        read_preferences(frame(prompt=["a"], safe=["b"]))


BAD_ROWS = [
    ({"prompt": ["p"], "chosen": [""], "rejected": ["b"]}, "A response is empty"),
    ({"prompt": [None], "chosen": ["a"], "rejected": ["b"]}, "The prompt is empty"),
    ({"chosen": [messages("p", "a", "q")], "rejected": ["b"]}, "The last turn is not the assistant's"),
    ({"chosen": ["\n\nHuman: p"], "rejected": ["b"]}, "The last turn is not the assistant's"),
    (
        {"chosen": ["\n\nHuman: p\n\nAssistant: a\n\nHuman: q"], "rejected": ["b"]},
        "The last turn is not the assistant's",
    ),
    ({"chosen": ['[{"role": "user"}]'], "rejected": ["b"]}, "A message has no role or no text"),
    (
        {"chosen": [messages("p", "a")], "rejected": [messages("q", "a")]},
        "The chosen and the rejected response follow different prompts",
    ),
    (
        {"response_0": ["a"], "response_1": ["b"], "safer_response_id": ["2"]},
        "The choice is neither 0 nor 1",
    ),
]


@pytest.mark.parametrize(("columns", "reason"), BAD_ROWS)
def test_bad_rows_are_named(tmp_path: Path, columns: dict[str, list[Any]], reason: str) -> None:
    path = tmp_path / "pairs.parquet"
    good = {
        "prompt": "p",
        "chosen": "a",
        "rejected": "b",
        "response_0": "a",
        "response_1": "b",
        "safer_response_id": "0",
    }
    good |= {name: messages("p", "a") for name in ("chosen", "rejected") if "prompt" not in columns}
    pl.DataFrame({name: [good[name], *cells] for name, cells in columns.items()}).write_parquet(path)
    with pytest.raises(BadInput, match=rf"pairs\.parquet, row 2: {reason} ?.*1 bad rows: 2"):
        read_preferences(path, max_bad_rows=0)
    pairs, failed, _ = read_preferences(path, max_bad_rows=1)
    assert [pair.row for pair in pairs] == [1]
    ((row, why),) = failed
    assert row == 2
    assert why.startswith(reason)


def test_too_many_bad_rows_stop() -> None:
    table = frame(prompt=["p"] * 20, chosen=["a"] * 5 + [""] * 15, rejected=["b"] * 20)
    with pytest.raises(BadInput, match=r"row 6: .*the first of 11 bad rows: 6, 7, "):
        read_preferences(table)
    with pytest.raises(BadInput, match="No row could be read"):
        read_preferences(table[5:], max_bad_rows=15)


def test_plain_text_that_looks_like_json_stays_text() -> None:
    ((pair,), _, _) = read_preferences(frame(prompt=["p"], chosen=["[1] is a note"], rejected=["[1, 2]"]))
    assert (pair.chosen, pair.rejected) == ("[1] is a note", "[1, 2]")


def many(n: int) -> pl.DataFrame:
    """n pairs: prompts with a term in every second, only the chosen response in every fourth."""
    return frame(
        prompt=[f"Ask {i} about " + ("trans people" if i % 2 else "trees") for i in range(n)],
        chosen=["nonbinary people " + "x" * i if i % 4 == 0 else f"plain {i}" for i in range(n)],
        rejected=["a straight line"] * n,
    )


def test_counts_and_wilson_intervals() -> None:
    audit = audit_preferences(many(80))
    prompts = share(audit, "prompts with a term")
    assert (prompts.count, prompts.total) == (40, 80)
    assert prompts.rows[:2] == (2, 4)
    chosen = share(audit, "chosen responses with a term")
    assert (chosen.count, chosen.total) == (20, 80)
    assert chosen.interval is not None
    low, high = proportion_confint(20, 80, method="wilson")
    assert (chosen.interval.low, chosen.interval.high) == pytest.approx((low, high))
    assert share(audit, "pairs with a term anywhere").count == 60
    assert share(audit, "pairs with a term in one response alone").count == 20
    only = share(audit, "of these, in the chosen one")
    assert (only.count, only.total, only.interval, only.reason) == (20, 20, None, "fewer than 30")
    assert audit.prompts == 80


def test_below_thirty_pairs_counts_only() -> None:
    for n, there in ((LEAST_PAIRS - 1, False), (LEAST_PAIRS, True)):
        audit = audit_preferences(many(n))
        assert (share(audit, "chosen responses with a term").interval is not None) is there


def test_differences_of_a_measure() -> None:
    classifier = Length()
    audit = audit_preferences(many(160), classifiers=[classifier])
    mention, differ = audit.differences
    assert (mention.subset, mention.pairs, differ.subset, differ.pairs) == ("mention", 120, "differ", 40)
    gaps = [len("nonbinary people ") + i - len("a straight line") for i in range(0, 160, 4)]
    assert differ.mean is not None
    assert differ.mean == pytest.approx(sum(gaps) / 40)
    assert (differ.higher, differ.equal, differ.lower) == (40, 0, 0)
    assert differ.interval is not None
    assert differ.interval.low < differ.mean < differ.interval.high
    assert not any(text in classifier.seen for text in ("plain 2", "plain 6"))  # no term in these pairs
    few = audit_preferences(many(40), classifiers=[Length()]).differences[1]
    assert (few.pairs, few.mean, few.interval, few.reason) == (10, None, None, "fewer than 30 pairs")


def test_swapping_chosen_and_rejected_turns_the_sign() -> None:
    table = many(160)
    swapped = table.rename({"chosen": "rejected", "rejected": "chosen"})
    ahead, behind = (audit_preferences(t, classifiers=[Length()]).differences[0] for t in (table, swapped))
    assert ahead.mean is not None
    assert behind.mean == pytest.approx(-ahead.mean)
    assert (ahead.higher, ahead.lower) == (behind.lower, behind.higher)


def test_the_lexicon_works_without_a_model() -> None:
    table = frame(
        prompt=["about trans people"] * 2, chosen=["a wonderful day", "fine"], rejected=["a terrible day", "fine"]
    )
    mention = audit_preferences(table, classifiers=[open_classifier("sentiment-lexicon")]).differences[0]
    assert (mention.higher, mention.equal, mention.lower) == (1, 1, 0)


def test_a_number_that_is_not_finite_is_told() -> None:
    class Broken(Length):
        def measure(self, texts: Sequence[str]) -> list[float]:
            return [float("nan")] * len(texts)

    with pytest.raises(BadInput, match="length gave no finite number"):
        audit_preferences(many(8), classifiers=[Broken()])


def test_unclear_words_are_named_and_not_counted() -> None:
    audit = audit_preferences(frame(prompt=["p", "p"], chosen=["trans fat", "trans people"], rejected=["a", "a"]))
    assert audit.unclear == (1,)
    assert share(audit, "pairs with a term anywhere").rows == (2,)


def test_targets_of_fine_tuning() -> None:
    sft = frame(response=["nonbinary people ", "something else", "a  straight line"])
    audit = audit_preferences(many(8), sft=sft)
    with_term = share(audit, "SFT targets with a term")
    assert (with_term.count, with_term.total) == (1, 3)
    assert share(audit, "of pairs with a term, chosen response is an SFT target").rows == (1,)
    rejected = share(audit, "of pairs with a term, rejected response is an SFT target")
    assert (rejected.count, rejected.total) == (6, 6)
    assert read_targets(frame(messages=[messages("q", "a")])) == ["a"]
    with pytest.raises(BadInput, match=r"row 2: A response is empty"):
        read_targets(frame(response=["a", ""]))


def test_other_identities_can_be_asked_for() -> None:
    audit = audit_preferences(frame(prompt=["p"], chosen=["a deaf man"], rejected=["b"]), identities=["men"])
    assert share(audit, "chosen responses with a term").count == 1
    with pytest.raises(BadInput, match="The list has no identity 'weavers'"):
        audit_preferences(many(4), identities=["weavers", "men"])
    own = frame(term=["weaver"], identity=["weavers"], axis=["trade"])
    with pytest.raises(BadInput, match="none of the gender-diverse identities"):
        audit_preferences(many(4), terms=own)


def test_no_text_is_in_the_result() -> None:
    written = json.dumps(audit_preferences(many(40), classifiers=[Length()]).as_dict())
    assert "Ask 1" not in written
    assert "straight line" not in written


@pytest.mark.data
def test_pku_saferlhf(public_data: Finder) -> None:
    folder = public_data("pku_saferlhf")
    sample = folder / "pku_saferlhf_schema_sample3.jsonl"
    with pytest.raises(BadInput, match="Both better_response_id and safer_response_id"):
        read_preferences(sample)
    raw = [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]
    for role in ("better_response_id", "safer_response_id"):
        pairs, failed, _ = read_preferences(sample, {"choice": role})
        assert not failed
        assert all(p.chosen == r[f"response_{r[role]}"] for p, r in zip(pairs, raw, strict=True))
    audit = audit_preferences(
        folder / "pku_saferlhf_safety_pairs_sample200.jsonl",
        {"chosen": "safer_response", "rejected": "unsafe_response"},
    )
    assert (audit.pairs, len(audit.failed)) == (200, 0)
    assert all(entry.interval is not None for entry in audit.shares if entry.total == 200)
