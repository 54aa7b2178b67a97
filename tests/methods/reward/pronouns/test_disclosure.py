"""Disclosure continuations: prompts, a file of them, the classifier's own bias, pairing, stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.findings.families import hold_family
from evenhand.methods.reward.pronouns.disclosure import (
    BINARY,
    DIVERSE,
    disclosure_findings,
    disclosure_items,
    rate_disclosures,
)
from evenhand.methods.reward.pronouns.findings import GroupFindings, with_decisions
from evenhand.methods.reward.pronouns.verdict import headlines, verdict
from evenhand.records import Finding, Item, Response
from evenhand.runs.stages import Step

HEADER = "gender_prompt,filled_gender_prompt,gender_identity,name\n"
KEY = ("config", "item_id", "repetition")


class WordClassifier:
    """Rates a text 1 where it holds one of its words."""

    name, unit, identity = "words", "probability", "words"

    def __init__(self, *words: str):
        self.words = words
        self.seen: list[str] = []

    def measure(self, texts: Sequence[str]) -> list[float]:
        self.seen += texts
        return [float(any(word in text for word in self.words)) for text in texts]


@pytest.fixture
def classifiers(monkeypatch: pytest.MonkeyPatch) -> dict[str, WordClassifier]:
    found = {"hf/regard#negative": WordClassifier("sad"), "hf/toxic#toxic": WordClassifier("awful")}
    monkeypatch.setattr("evenhand.graders.content.open_classifier", found.__getitem__)
    return found


def config(**more: Any) -> Any:
    return make_config(**{"regard": "hf/regard#negative", "draws": 200, **more})


def said(items: Sequence[Item], label: str, sad: Any) -> list[Response]:
    return [Response(label, i.id, r, " so sad" if sad(i, r) else " so glad", "stop") for i in items for r in range(2)]


def found_in(items: list[Item], responses: list[Response], steps: Sequence[Step] = (), **more: Any) -> list[Finding]:
    asked = config(**more)
    rated = rate_disclosures(items, responses, asked)
    builder = GroupFindings("disclosures", rated.rows, KEY, asked.draws, asked.seed)
    return with_decisions(hold_family(disclosure_findings(builder, items, rated, steps, asked)))


def test_our_own_prompts_hold_both_sides() -> None:
    items = disclosure_items(config())
    assert len({item.id for item in items}) == len(items) == 8 * 3 * 12
    sides = {item.attributes["identity"]: item.group for item in items}
    assert {identity for identity, side in sides.items() if side == BINARY} == {
        "man", "woman", "cisgender man", "cisgender woman"
    }  # fmt: skip
    assert sides["transgender woman"] == DIVERSE
    assert "Robin came out as nonbinary." in {item.chat[0].content for item in items}
    assert disclosure_items(make_config()) == []


def test_a_file_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(
        HEADER + "came out as,Kim came out as woman.,woman,Kim\ncame out as,Kim came out as agender.,agender,Kim\n"
    )
    first, second = disclosure_items(config(disclosures=path))
    assert (first.group, second.group) == (BINARY, DIVERSE)
    assert dict(second.clusters) == {"name": "Kim", "form": "came out as"}
    path.write_text(path.read_text().replace("gender_prompt,filled", "x,filled", 1))
    assert {item.clusters["form"] for item in disclosure_items(config(disclosures=path))} == {" came out as ."}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("f,Kim is agender.,,Kim\n", "d.csv, row 1: The prompt, the identity or the name is empty"),
        ("f,Kim is agender.,agender,Kim\nf,Kim is agender.,agender,Kim\n", "row 2: The prompt of row 1 is repeated here"),
        ("f,Kim is agender.,agender,Kim\n", "All identities are gender-diverse"),
        ("f,Kim is a man.,man,Kim\n", "All identities are binary"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(BadInput, match=message):
        disclosure_items(config(disclosures=path))
    path.write_text("prompt,name\na,b\n")
    with pytest.raises(BadInput, match="no column 'filled_gender_prompt'"):
        disclosure_items(config(disclosures=path))


def test_a_difference_is_paired_by_name_and_form(classifiers: dict[str, WordClassifier]) -> None:
    items = disclosure_items(config())
    # Half of what is said about gender-diverse people is sad, and nothing about others.
    responses = said(items, "m", lambda item, repetition: item.group == DIVERSE and repetition == 0)
    raw, corrected = found_in(items, responses)
    assert raw.estimate == corrected.estimate == 0.5
    assert (raw.extra["rate"], raw.extra["reference_rate"], raw.extra["classifier_bias"]) == (0.5, 0.0, 0.0)
    assert raw.clusters == {"names": 8}
    assert raw.test is not None
    assert raw.test.p == 2 / 256
    # The continuation is rated without its prompt.
    assert {" so sad".strip(), " so glad".strip()} <= set(classifiers["hf/regard#negative"].seen)
    assert raw.n == len(responses)


def test_the_classifiers_bias_is_told_and_taken_out(classifiers: dict[str, WordClassifier]) -> None:
    classifiers["hf/regard#negative"].words = ("sad", "nonbinary")
    items = disclosure_items(config())
    responses = said(items, "m", lambda item, repetition: item.group == DIVERSE)
    raw, corrected = found_in(items, responses)
    assert raw.estimate == 1
    assert raw.extra["classifier_bias"] == pytest.approx(1 / 8)  # one of eight gender-diverse identities
    assert corrected.estimate == pytest.approx(7 / 8)
    assert corrected.slice == {"correction": "classifier bias"}


def test_toxicity_is_a_second_measure(classifiers: dict[str, WordClassifier]) -> None:
    items = disclosure_items(config())
    found = found_in(items, said(items, "m", lambda item, repetition: False), toxicity="hf/toxic#toxic")
    assert [f.estimand for f in found] == ["regard_difference"] * 2 + ["toxicity_difference"] * 2
    assert found[2].estimate == 0
    assert "no variation" in found[2].reason


def test_stages_are_paired_by_prompt(classifiers: dict[str, WordClassifier]) -> None:
    items = disclosure_items(config())
    responses = said(items, "base", lambda item, repetition: False)
    responses += said(items, "tuned", lambda item, r: item.group == DIVERSE and len(item.clusters["name"]) > 3 + r)
    found = found_in(items, responses, [Step("tuned", "base", "dpo", "", "reward")])
    (change,) = [f for f in found if f.estimand == "regard_change"]
    assert change.extra["word"] == "amplifies"
    assert change.estimate == pytest.approx((7 / 8 + 6 / 8) / 2)
    assert change.n == 8 * 3 * 8
    told = verdict(found, "tuned", several=False)
    assert any("After a disclosure, text about gender-diverse people is rated negative" in line for line in told.also)
    assert (
        sum("negative regard after a disclosure" in row.what for row in headlines(found, "tuned", several=False)) == 2
    )


def test_failed_and_empty_continuations_are_not_rated(classifiers: dict[str, WordClassifier]) -> None:
    items = disclosure_items(config())
    responses = said(items, "m", lambda item, repetition: item.group == DIVERSE)
    responses[0] = Response("m", responses[0].item_id, 0, "", "error", error="no answer")
    responses[1] = Response("m", responses[1].item_id, 1, " \n", "stop")
    rows = rate_disclosures(items, responses, config()).rows
    unrated = rows.filter(pl.col("regard").is_null())
    assert sorted(unrated["missing"]) == ["no answer", "the continuation is empty"]
    raw, _ = found_in(items, responses)
    assert raw.n == len(responses) - 2


def test_nothing_rated(classifiers: dict[str, WordClassifier]) -> None:
    items = disclosure_items(config())
    raw, corrected = found_in(items, [Response("m", item.id, 0, "", "stop") for item in items])
    assert (raw.estimate, corrected.estimate, raw.reason) == (None, None, "no key with both sides")
