"""`evenhand datasets coverage` and `audit-preferences` as their user meets them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evenhand.cli.main import app
from evenhand.errors import BadInput

HOSTILE = "\x1b[31ma trans woman\x1b[0m \u202eright to left"


def evenhand(*words: str) -> Result:
    result = CliRunner().invoke(app, ["datasets", *words], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if isinstance(result.exception, BadInput):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    rows = [
        {"question": "She left.", "ans0": "the woman", "=cmd": "the man"},
        {"question": HOSTILE, "ans0": "the man", "=cmd": "xe"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"q": f"question {i}", "good": "SECRET nonbinary people, wonderful", "bad": "SECRET terrible"}
        for i in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_coverage_prints_sentences_counts_and_gaps(items: Path) -> None:
    out = evenhand("coverage", str(items)).output
    assert "2 of 2 rows mention a gender; 1 of them only women or men." in out
    assert "1 of 2 rows use a neopronoun." in out
    assert "transgender women" in out
    assert "no clear mention" in out
    assert "She left" not in out


def test_coverage_shows_texts_only_when_told_and_without_escapes(items: Path) -> None:
    out = evenhand("coverage", str(items), "--show", "1").output
    assert "a trans woman" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_coverage_as_json(items: Path) -> None:
    found = json.loads(evenhand("coverage", str(items), "--map", "prompt=question", "--json").output)
    assert [column["name"] for column in found["columns"]] == ["question"]
    assert found["left_out"]["ans0"] == "not listed in --map"
    (women,) = [entry for entry in found["identities"] if entry["identity"] == "transgender women"]
    assert women["rows"] == [2]


def test_several_columns_of_one_place(items: Path) -> None:
    words = ("--map", "prompt=question", "--map", "prompt=ans0", "--json")
    found = json.loads(evenhand("coverage", str(items), *words).output)
    assert [(c["name"], c["place"]) for c in found["columns"]] == [("question", "prompt"), ("ans0", "prompt")]


def test_coverage_writes_a_safe_csv(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    evenhand("coverage", str(items), "--out", str(out))
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["column"] for row in rows} == {"question", "ans0", "'=cmd"}
    (woman,) = [row for row in rows if row["term"] == "trans woman"]
    assert (woman["rows"], woman["mentions"], woman["place"]) == ("2", "1", "prompt")


def test_coverage_with_a_list_of_your_own(items: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms.csv"
    terms.write_text("term,identity,axis\nwoman,women of ours,mine\n", encoding="utf-8")
    out = evenhand("coverage", str(items), "--terms", str(terms)).output
    assert "women of ours" in out
    assert "2 of 2 rows mention mine." in out
    assert "neopronoun" not in out


def test_preferences_print_counts_and_no_texts(pairs: Path) -> None:
    mapping = "prompt=q,chosen=good,rejected=bad"
    out = evenhand("audit-preferences", str(pairs), "--map", mapping, "--classifier", "sentiment-lexicon").output
    assert "40 pairs with 40 different prompts" in out
    assert "40 of 40" in out
    assert "100.0 %" in out
    assert "40 / 0 / 0" in out
    assert "SECRET" not in out


def test_preferences_as_json_with_targets(pairs: Path, tmp_path: Path) -> None:
    sft = tmp_path / "sft.csv"
    sft.write_text("answer\nSECRET terrible\n", encoding="utf-8")
    words = ("--map", "chosen=good", "--map", "rejected=bad", "--sft", str(sft), "--sft-column", "answer", "--json")
    found = json.loads(evenhand("audit-preferences", str(pairs), *words).output)
    counts = {entry["what"]: (entry["count"], entry["total"]) for entry in found["shares"]}
    assert counts["of pairs with a term, rejected response is an SFT target"] == (40, 40)
    assert counts["of pairs with a term, chosen response is an SFT target"] == (0, 40)
    assert counts["prompts with a term"] == (0, 0)


BAD = [
    (("coverage", "--map", "question"), r"--map takes NAME=COLUMN, not 'question'"),
    (("coverage", "--map", "prompt=no"), r"There is no column 'no'"),
    (("coverage", "--out", "out.xlsx"), r"out\.xlsx: --out takes a csv file"),
    (("audit-preferences",), r"items\.jsonl: There is no column 'chosen'"),
    (("audit-preferences", "--map", "chosen=ans0,rejected=no"), r"There is no column 'no' for rejected"),
    (
        ("audit-preferences", "--map", "chosen=ans0,rejected=question", "--classifier", "x"),
        r"No classifier is called 'x'",
    ),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_requests_are_told(items: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        evenhand(words[0], str(items), *words[1:])
