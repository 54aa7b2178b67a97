"""Coverage of an evaluation set, and the numbers that the survey states."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.reward.coverage.mentions import Coverage, coverage

Finder = Callable[[str], Path]
DOCS = Path(__file__).parents[4] / "docs"


def rows_of(found: Coverage, identity: str, column: str | None = None) -> tuple[int, ...]:
    return next(count.rows for count in found.identities(column) if count.identity == identity)


@pytest.fixture
def found() -> Coverage:
    frame = pl.DataFrame(
        {
            "example_id": ["women", "women", "women", "women"],
            "question": ["She met her aunt.", "They say xyr name.", "I am a trans man; the straight road.", None],
            "ans0": ["the woman", "the man and the man", "the boy", ""],
            "target": ["women", None, "trans men", None],
            "anti-stereotype": ["no", "no", "yes", None],
            "n": ["1", "2", "3", "4"],
        }
    )
    return coverage(frame)


def test_rows_places_and_columns(found: Coverage) -> None:
    assert found.rows == 3
    assert {column.name: column.place for column in found.columns} == {
        "question": "prompt",
        "ans0": "option",
        "target": "label",
        "anti-stereotype": "label",
    }
    assert dict(found.left_out) == {"example_id": "an identifier, link or hash by its name", "n": "without letters"}
    assert rows_of(found, "women") == (1,)
    assert rows_of(found, "men") == (2, 3)
    assert rows_of(found, "men", "question") == ()
    assert rows_of(found, "transgender men") == (3,)


def test_roles_mentions_and_speakers(found: Coverage) -> None:
    by_name = {count.identity: count for count in found.identities()}
    assert dict(by_name["she"].roles) == {"subject": 1, "object or possessive": 1}
    assert dict(by_name["men"].places) == {"option": 3}
    assert by_name["men"].mentions == 3
    assert dict(by_name["transgender men"].places) == {"prompt": 1, "label": 1}
    assert by_name["transgender men"].disclosed == 1


def test_unclear_words_are_counted_apart(found: Coverage) -> None:
    by_name = {count.identity: count for count in found.identities()}
    for name, row in (("they", 2), ("heterosexual people", 3)):
        assert by_name[name].rows == ()
        assert by_name[name].unclear_rows == (row,)
        assert name in found.missing()[by_name[name].axis]


def test_what_is_missing(found: Coverage) -> None:
    missing = found.missing()
    assert "xe" not in missing["pronoun"]
    assert {"ze", "fae", "they"} < set(missing["pronoun"])
    assert "nonbinary people" in missing["gender"]
    assert len(missing["religion"]) == len(found.terms.identities()["religion"])
    assert "women" not in missing["gender"]
    assert "men" not in missing["gender"]
    assert "men" in found.missing("question")["gender"]


def test_sentences(found: Coverage) -> None:
    said = found.sentences()
    assert "3 of 3 rows mention a gender; 2 of them only women or men." in said
    assert "2 of 3 rows use a third-person pronoun; 1 of them only he or she." in said
    assert "1 of 3 rows use a neopronoun." in said
    assert "0 of 3 rows mention religion." in said
    assert "In 1 of 3 rows a speaker states an identity of their own." in said


def test_no_text_leaves_the_counts(found: Coverage) -> None:
    assert found.excerpts == ()
    written = json.dumps(found.as_dict())
    assert "She met" not in written
    assert "aunt" in written  # the term, as the list spells it


def test_excerpts_only_where_asked_for() -> None:
    frame = pl.DataFrame({"text": ["x " * 100 + "a woman" + " y" * 100, "women", "women"]})
    (first, second) = coverage(frame, excerpts=2).excerpts
    assert first[:3] == ("women", 1, "text")
    assert "woman" in first[3]
    assert len(first[3]) < 100
    assert second[1] == 2


def test_files_of_every_kind_agree(tmp_path: Path) -> None:
    texts = ["A woman, nonbinary", "xe", "a man"]
    frame = pl.DataFrame({"prompt": texts})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    wanted = [(count.identity, count.rows) for count in coverage(frame).identities()]
    for name in ("a.parquet", "a.csv", "a.jsonl", "a.txt"):
        assert [(count.identity, count.rows) for count in coverage(tmp_path / name).identities()] == wanted


def test_txt_rows_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\na woman\n\n", encoding="utf-8")
    found = coverage(path)
    assert found.rows == 1
    assert rows_of(found, "women") == (3,)


def test_nested_cells_are_searched_in_their_strings() -> None:
    cell = json.dumps([{"role": "woman", "content": ["xe", {"man": "a deaf man"}]}])
    found = coverage(pl.DataFrame({"messages": [cell, "[a woman"]}))
    assert rows_of(found, "deaf and hard-of-hearing people") == (1,)
    assert next(c.mentions for c in found.identities() if c.identity == "men") == 1
    assert rows_of(found, "women") == (1, 2)


def test_a_mapping_is_the_whole_choice() -> None:
    frame = pl.DataFrame({"a": ["woman"], "b": ["man"], "c": ["xe"]})
    found = coverage(frame, {"prompt": ["a"], "label": ["b"]})
    assert [(c.name, c.place) for c in found.columns] == [("a", "prompt"), ("b", "label")]
    assert dict(found.left_out) == {"c": "not listed in --map"}
    assert rows_of(found, "xe") == ()


BAD = [
    ({"stage": ["a"]}, r"Unknown place 'stage'\. Known: prompt, option, label, text"),
    ({"prompt": ["z"]}, r"There is no column 'z'\. Found: a"),
    ({"prompt": ["a"], "label": ["a"]}, r"Column 'a' is mapped to two places"),
]


@pytest.mark.parametrize(("mapping", "message"), BAD)
def test_bad_mappings_are_told(mapping: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        coverage(pl.DataFrame({"a": ["woman"]}), mapping)


def test_bad_files_are_told(tmp_path: Path) -> None:
    empty, latin = tmp_path / "a.txt", tmp_path / "b.txt"
    empty.write_text("\n \n")
    latin.write_bytes(b"caf\xe9")
    for path, message in (
        (empty, r"a\.txt: The file is empty"),
        (latin, r"b\.txt: The file is not UTF-8: byte 3"),
        (tmp_path / "c.txt", r"c\.txt: The file cannot be read: No such file"),
        (tmp_path / "d.pdf", r"Files of type '\.pdf' are not read\. Known: \.csv.*\.txt"),
    ):
        with pytest.raises(BadInput, match=message):
            coverage(path)
    with pytest.raises(BadInput, match="No column holds text to search"):
        coverage(pl.DataFrame({"n": ["1", "2"]}))


@given(st.lists(st.sampled_from(["a woman", "men", "xe ran", "nonbinary", "", "a tree"]), min_size=1, max_size=8))
def test_rows_are_what_a_plain_search_finds(texts: list[str]) -> None:
    if not any(texts):
        return
    frame = pl.DataFrame({"prompt": [*texts, "a tree"]})
    found = coverage(frame)
    assert found.rows == sum(bool(text) for text in texts) + 1
    for name, word in (("women", "a woman"), ("men", "men"), ("xe", "xe ran"), ("nonbinary people", "nonbinary")):
        assert rows_of(found, name) == tuple(i for i, text in enumerate(texts, start=1) if text == word)


@pytest.mark.data
def test_the_pronoun_families_of_misgendered(public_data: Finder) -> None:
    found = coverage(public_data("misgendered") / "pronouns.csv", {"option": ["nom", "acc", "pos_dep", "ref"]})
    for family in ("he", "she", "thon", "xe", "ey", "ze"):
        assert rows_of(found, family), family
    assert {column.place for column in found.columns} == {"option"}


def test_the_survey_states_what_its_table_holds() -> None:
    with (DOCS / "survey.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    page = " ".join((DOCS / "survey.md").read_text(encoding="utf-8").split())
    models = {row["model"] for row in rows}
    evaluated = [row for row in rows if row["benchmark"] != "none in the document"]

    def share(picked: set[str], what: str) -> str:
        return f"{len(picked)} of {len(models)} {what}"

    for sentence in (
        f"{len(models)} models, {len(rows)} rows, {len({row['benchmark'] for row in evaluated})} benchmarks",
        share({row["model"] for row in evaluated}, "report an evaluation of bias on a named benchmark"),
        share(
            {row["model"] for row in evaluated if row["gender_categories"] == "TGNB included"},
            "use a benchmark whose read description says that it includes transgender or nonbinary people",
        ),
        share(
            {row["model"] for row in evaluated if row["stage_evaluated"] == "both"},
            "compare a model before and after alignment",
        ),
        share(
            {row["model"] for row in evaluated if row["stage_evaluated"] == "base"},
            "measure bias on the base model alone",
        ),
        share({row["model"] for row in rows if row["reward_signal_evaluated"] == "yes"}, "examine rewards"),
    ):
        assert sentence in page, sentence


def test_every_survey_row_is_filled_and_has_its_source() -> None:
    with (DOCS / "survey.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=1):
        assert None not in row, number
        assert all(value.strip() for value in row.values()), number
        assert row["url"].startswith("https://"), number
        assert row["gender_categories"] in {"binary only", "TGNB included", "unclear", "none"}, number
        assert row["stage_evaluated"] in {"base", "aligned", "both", "SFT and aligned", "none"}, number
        assert row["reward_signal_evaluated"] in {"yes", "no", "not stated"}, number
    keys = [(row["model"], row["benchmark"]) for row in rows]
    assert len(set(keys)) == len(keys)
