"""Texts that a naive removal gets wrong: without a feature, too short, with tags of speakers, one text under many profiles."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from evenhand.config import checked
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.dedup import DedupResult, find_duplicates
from evenhand.methods.pluralism.corpus.row_file import RowFile

LONG = "what is the best way to repair an old wooden garden chair that has been standing in the rain"


def of(folder: Path, rows: list[dict[str, str]], **settings: Any) -> DedupResult:
    path = folder / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return find_duplicates(RowFile(path), checked(DedupConfig, **settings))


def texts(*given: str) -> list[dict[str, str]]:
    return [{"id": str(at), "text": text} for at, text in enumerate(given)]


@pytest.mark.parametrize("interop", [False, True])
def test_texts_without_features_are_no_duplicates_of_each_other_and_are_listed(tmp_path: Path, interop: bool) -> None:
    found = of(tmp_path, texts("", " \n\t", "?!", "?!", "\u200b", "…", LONG, LONG), interop=interop, verify=0)
    assert found.no_features.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.kept.tolist() == [True] * 7 + [False]
    assert found.different_texts == 1  # those without a fingerprint are not searched
    assert any("6 texts have no word character" in warning for warning in found.warnings)


def test_a_text_shorter_than_the_n_gram_is_flagged_and_only_its_equal_is_found(tmp_path: Path) -> None:
    found = of(tmp_path, texts("hi", "Hi ", "ha", "yes", LONG))
    assert found.dropped.row.tolist() == [2]
    assert any("4 texts are shorter than 4 characters" in warning for warning in found.warnings)
    assert not any("shorter" in warning for warning in of(tmp_path, texts(LONG)).warnings)


def test_tags_of_speakers_pull_unrelated_dialogues_together_unless_they_are_left_out(tmp_path: Path) -> None:
    """Two dialogues of thirty turns without a word in common: within 10 bits by their tags alone, under single words."""
    dialogues = texts(
        *("\n".join(f"{'USER' if at % 3 else 'LAMDA'}: {word}{at}" for at in range(30)) for word in ("sea", "red"))
    )
    settings: dict[str, Any] = {"features": "word", "verify": 0}
    tagged = of(tmp_path, dialogues, **settings)
    assert tagged.kept.tolist() == [True, False]
    assert any("2 texts have several lines that begin with a speaker's tag" in w for w in tagged.warnings)
    stripped = of(tmp_path, dialogues, strip_speakers=True, **settings)
    assert stripped.kept.tolist() == [True, True]
    assert not any("speaker" in warning for warning in stripped.warnings)
    assert of(tmp_path, dialogues, **{**settings, "verify": 0.5}).kept.all()  # verification makes up for it


def test_one_text_under_many_profiles_is_one_text_and_its_rows_are_told(tmp_path: Path) -> None:
    """The key is the text alone: rows of other profiles go, their keeper is named, and the reader hears of it."""
    rows = [{"text": LONG, "gender": gender, "age": age} for gender in ("Man", "Woman") for age in ("gen z", "gen x+")]
    found = of(tmp_path, [*rows, {"text": "something else about the sea", "gender": "Man", "age": "gen z"}])
    assert found.different_texts == 2
    assert found.dropped.keeper.tolist() == [1, 1, 1]
    assert any("3 dropped rows repeat a text exactly while other columns differ" in w for w in found.warnings)
    same = of(tmp_path, [rows[0], rows[0]])
    assert same.dropped.keeper.tolist() == [1]
    assert not any("other columns differ" in warning for warning in same.warnings)


def test_pairs_by_chance_are_warned_of_above_one_in_a_hundred_rows(tmp_path: Path) -> None:
    rows = texts(*(f"{n * 7919} words that differ {n * n} times {n * 31}" for n in range(120)))
    assert any("by chance" in warning for warning in of(tmp_path, rows, distance=20).warnings)
    assert not any("by chance" in warning for warning in of(tmp_path, rows, distance=10).warnings)
