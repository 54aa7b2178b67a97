"""The whole removal on files: what goes, who keeps it, what is said aloud, and that threads change nothing."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.config import checked
from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.dedup import DedupResult, find_duplicates, write_result
from evenhand.methods.pluralism.corpus.removal import jaccard
from evenhand.methods.pluralism.corpus.row_file import RowFile
from evenhand.methods.pluralism.corpus.simhash import char_grams, fingerprints, normalise

Finder = Callable[[str], Path]
LONG = "what is the best way to repair an old wooden garden chair that has been standing in the rain"


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(path: Path, threads: int = 1, **settings: Any) -> DedupResult:
    config = checked(DedupConfig, **settings)
    return find_duplicates(RowFile(path, config.columns or None), config, threads=threads)


def of_texts(folder: Path, texts: list[str], threads: int = 1, **settings: Any) -> DedupResult:
    return run(table(folder / "a.csv", [{"text": text} for text in texts]), threads, **settings)


def many(rows: int) -> list[str]:
    """Texts of which many are edits of others."""
    generator = np.random.default_rng(2)
    words = ["".join(map(chr, generator.integers(97, 123, 6))) for _ in range(400)]
    found: list[list[str]] = []
    for row in range(rows):
        if row % 3 == 0 or not found:
            found.append([words[n] for n in generator.integers(0, 400, 15)])
        else:
            edited = list(found[int(generator.integers(0, row))])
            edited[int(generator.integers(0, len(edited)))] = words[int(generator.integers(0, 400))]
            found.append(edited)
    return [" ".join(row) for row in found]


def test_the_first_stays_and_the_table_names_it(tmp_path: Path) -> None:
    near = LONG + " again"
    found = of_texts(tmp_path, ["unrelated words about the sea and ships", LONG, LONG.upper() + " ", near, LONG])
    assert found.kept.tolist() == [True, True, False, False, False]
    assert found.dropped.row.tolist() == [3, 4, 5]
    assert found.dropped.keeper.tolist() == [2, 2, 2]
    assert found.dropped.exact.tolist() == [True, False, True]
    prints = fingerprints([LONG, near]).words[:, 0]
    assert found.dropped.distance.tolist() == [0, int(np.bitwise_count(prints[0] ^ prints[1])), 0]
    expected = jaccard(frozenset(char_grams(LONG)), frozenset(char_grams(near)))
    assert found.dropped.jaccard.tolist() == [1.0, expected, 1.0]
    assert found.different_texts == 3


@pytest.mark.parametrize("bits", [64, 128])
@pytest.mark.parametrize("keep", ["first", "components"])
def test_no_kept_row_is_near_another_and_no_other_is_lost(tmp_path: Path, keep: str, bits: int) -> None:
    """Acceptance 7, by comparing all rows here."""
    texts = many(240)
    distance = 10 * bits // 64
    found = of_texts(tmp_path, texts, keep=keep, bits=bits, distance=distance)
    words = fingerprints(texts, bits=bits).words
    sets = [frozenset(char_grams(text)) for text in texts]

    def pair(i: int, j: int) -> bool:
        return int(np.bitwise_count(words[i] ^ words[j]).sum()) <= distance and jaccard(sets[i], sets[j]) >= 0.5

    rows = np.flatnonzero(found.kept).tolist()
    assert not [(i, j) for i in rows for j in rows if i < j and pair(i, j)]
    assert len(rows) + len(found.dropped) == 240
    assert 20 < len(found.dropped) < 200
    for row, keeper in zip((found.dropped.row - 1).tolist(), (found.dropped.keeper - 1).tolist(), strict=True):
        assert found.kept[keeper]
        assert keeper < row
        if keep == "first":
            assert keeper == next(i for i in rows if pair(i, row))


@pytest.mark.parametrize("keep", ["first", "components"])
def test_threads_and_methods_do_not_change_the_files(tmp_path: Path, keep: str) -> None:
    path = table(tmp_path / "a.csv", [{"text": text} for text in many(300)])
    files, summaries = set(), set()
    searches = [("auto", 1), ("auto", 3), ("brute", 2), ("blocks", 2), ("multi-index", 2)]
    for number, (method, threads) in enumerate(searches):
        config = checked(DedupConfig, method=method, keep=keep)
        source = RowFile(path)
        out = tmp_path / str(number)
        facts = write_result(source, config, find_duplicates(source, config, threads=threads), out)
        files.add(((out / "dropped.csv").read_bytes(), (out / "kept.csv").read_bytes()))
        if method == "auto":
            summaries.add(json.dumps(facts))
    assert len(files) == 1
    assert len(summaries) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distance": -1}, "distance -1 is not within 0 and 31"),
        ({"distance": 32}, "distance 32 is not within 0 and 31"),
        ({"bits": 128, "distance": 64}, "distance 64 is not within"),
        ({"bits": 32}, "64 or 128 bits"),
        ({"verify": 1.5}, "verify"),
        ({"verify": -0.1}, "verify"),
        ({"features": "word", "interop": True}, "4-grams only"),
        ({"tau": 3}, "no such setting"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        checked(DedupConfig, **settings)


@pytest.mark.data
def test_rows_removed_from_the_public_dialogues(public_data: Finder, tmp_path: Path) -> None:
    """Reference values: 82 of the 350 contexts, of which 79 repeat another; 22 with the reply; 24 of the 990."""
    folder = public_data("dices")
    known = json.loads((folder / "reference_values.json").read_text(encoding="utf-8"))["simhash64_dices"]
    settings = {"interop": True, "verify": 0, "distance": 10}
    with (folder / "dices_350_items.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    contexts = [row["context"] for row in rows]
    found = of_texts(tmp_path, contexts, **settings)
    assert len(found.dropped) == known["dices350_context"]["removed_first_come_le_10"]
    assert len(set(contexts)) == known["dices350_context"]["distinct_texts"]
    both = [f"{row['context']}\n{row['response']}" for row in rows]
    expected = known["dices350_context_plus_response"]["removed_first_come_le_10"]
    assert len(of_texts(tmp_path, both, **settings).dropped) == expected
    with gzip.open(folder / "dices_990_overall.jsonl.gz", "rt", encoding="utf-8") as lines:
        more = [json.loads(line)["context"].replace("\\n", "\n") for line in lines]
    assert len(of_texts(tmp_path, more, **settings).dropped) == known["dices990_context"]["char4_removed_le_10"]


def test_normalised_equality_is_the_key(tmp_path: Path) -> None:
    texts = [LONG, LONG.replace(" ", "\\n", 1), LONG.replace(" ", "\r\n", 2)]
    assert len({normalise(text) for text in texts}) == 1
    assert of_texts(tmp_path, texts).dropped.exact.tolist() == [True, True]


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
    found = of(
        tmp_path,
        texts("", " \n\t", "?!", "?!", "\u200b", "…", LONG, LONG),
        interop=interop,
        verify=0,
    )
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


TEXT = "what is the best way to repair an old wooden garden chair"


def test_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [("=1+1", TEXT), ("b", "?"), ("@c", TEXT), ("d", TEXT + "s"), ("e", "something else about the sea")]
    path.write_text("\n".join(json.dumps({"id": name, "text": text, "n": 1.50}) for name, text in rows))
    source, config = RowFile(path), DedupConfig()
    out = tmp_path / "new" / "out"
    facts = write_result(source, config, find_duplicates(source, config), out)
    assert sorted(entry.name for entry in out.iterdir()) == [
        "dedup.json",
        "dropped.csv",
        "kept.jsonl",
        "no_features.csv",
    ]
    assert [json.loads(line)["id"] for line in (out / "kept.jsonl").read_text().splitlines()] == ["=1+1", "b", "e"]
    with (out / "dropped.csv").open(newline="") as file:
        dropped = list(csv.DictReader(file))
    assert [(row["row"], row["id"], row["kept_row"], row["kept_id"], row["kind"]) for row in dropped] == [
        ("3", "'@c", "1", "'=1+1", "exact"),
        ("4", "d", "1", "'=1+1", "near"),
    ]
    assert dropped[0]["distance"] == "0"
    assert dropped[0]["jaccard"] == "1.0"
    assert 0.9 < float(dropped[1]["jaccard"]) < 1
    assert (out / "no_features.csv").read_text() == '"row","id"\n2,"b"\n'
    assert read_json(out / "dedup.json") == facts
    assert {key: facts[key] for key in ("rows", "kept", "dropped", "dropped_exact", "dropped_near")} == {
        "rows": 5,
        "kept": 3,
        "dropped": 2,
        "dropped_exact": 1,
        "dropped_near": 1,
    }
    assert facts["settings"]["distance"] == 10
    assert facts["feature_hash"] == "mix64-v1 of four code points"
    assert facts["input"]["checksum"].startswith("xxh128:")


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text\n{TEXT}\n")
    source, config = RowFile(path), DedupConfig()
    with pytest.raises(BadInput, match="not empty"):
        write_result(source, config, find_duplicates(source, config), tmp_path)
