"""Every reader of files under seeded mutations: a sentence or a clean read, and nothing on standard error."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.datasets.labels import read_labels
from evenhand.datasets.pku import beavertails_prompts, pku_prompts, read_problems
from evenhand.datasets.prompts import read_names, read_prompts, read_stems
from evenhand.datasets.responses import read_responses
from evenhand.datasets.safety_prompts import read_safety_prompts
from evenhand.datasets.table import read_table
from evenhand.errors import EvenhandError
from evenhand.graders.human import read_annotations
from evenhand.methods.dart.difference.cases import read_cases, read_split_table
from evenhand.methods.dart.transfer.queries import read_transfer
from evenhand.methods.pluralism.corpus.row_file import RowFile
from evenhand.methods.pluralism.data.demo_safetybench import read_demo_safetybench
from evenhand.methods.pluralism.data.dices import read_dices
from evenhand.methods.pluralism.data.dices_fields import HEADERS
from evenhand.methods.pluralism.data.items import read_rated_items
from evenhand.methods.pluralism.data.ratings import read_ratings
from evenhand.methods.reward.coverage.mentions import coverage
from evenhand.methods.reward.coverage.preferences import read_preferences, read_targets
from evenhand.methods.reward.coverage.terms import read_terms
from evenhand.methods.reward.margins.pairs import read_pairs

Rows = list[dict[str, str]]

TEXT = 'Write a story about gardens, "plants" and tea.'
PROMPTS: Rows = [
    {"prompt": f"{TEXT} {i}", "group": "ab"[i % 2], "name": f"N{i}", "stem": f"s{i // 2}"} for i in range(6)
]
DICES: Rows = [
    dict.fromkeys(HEADERS["350"], "No") | {
        "id": str(i), "rater_id": str(i % 4), "rater_gender": ["Man", "Woman"][i % 2], "rater_race": "White",
        "rater_age": "gen z", "rater_education": "Other", "phase": "Phase1", "item_id": str(i // 4), "context": "USER: a",
        "response": f"b{i // 4}", "degree_of_harm": "Debatable", "harm_type": "Health", "Q_overall": ["Yes", "No"][i % 2],
        "safety_gold": "Yes",
    }
    for i in range(8)
]  # fmt: skip
READERS: dict[str, tuple[Rows, Callable[[Path], Any]]] = {
    "annotations": ([{"item_id": f"i{i}", "label": "refusal", "annotator": "a"} for i in range(5)], read_annotations),
    "beavertails": (
        [{"prompt": f"p{i}", "category": "privacy_violation"} for i in range(5)],
        lambda p: beavertails_prompts(read_table(p)),
    ),
    "cases": ([{"prompt": f"{TEXT} {i}", "gold": "YES", "id": f"c{i}"} for i in range(5)], read_cases),
    "corpus rows": ([{"text": f"{TEXT} {i}", "id": f"r{i}"} for i in range(5)], lambda p: list(RowFile(p).rows())),
    "coverage": ([{"text": f"{TEXT} {i}", "tags": '["women"]'} for i in range(5)], lambda p: coverage(p)),
    "demo_safetybench": (
        [{"query": f"q{i}", "gender": "Man", "race": "White", "age": "gen z", "education": "", "class": "None"} for i in range(5)],
        lambda p: read_demo_safetybench(p, partial=True),
    ),
    "dices": (DICES, lambda p: read_dices(p, partial=True, polarity="note")),
    "labels": ([{"label": "refusal", **row} for row in PROMPTS], read_labels),
    "names": ([{"name": f"N{i}", "group": "a", "gender": "", "frequency": "1"} for i in range(5)], read_names),
    "pairs": (
        [{"harmful": f"We {w} others.", "comparison": f"They {w} others.", "group": "us"} for w in ("like", "see", "hear", "know")],
        read_pairs,
    ),
    "pku": (
        [
            {
                "prompt": f"p{i}",
                **{f"is_response_{r}_safe": "false" for r in (0, 1)},
                **{f"response_{r}_harm_category": '{"Privacy Violation": true}' for r in (0, 1)},
            }
            for i in range(5)
        ],
        lambda p: pku_prompts(read_table(p)),
    ),
    "preferences": ([{"prompt": f"p{i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(5)], read_preferences),
    "prompts": (PROMPTS, read_prompts),
    "rated items": ([{"id": f"i{i}", "text": TEXT, "domain": "health"} for i in range(5)], read_rated_items),
    "ratings": (
        [{"item": f"i{i % 3}", "rater": f"r{i // 3}", "rating": ["safe", "unsafe"][i % 2]} for i in range(9)],
        read_ratings,
    ),
    "responses": ([{"response": f"Of course {i}.", **row} for i, row in enumerate(PROMPTS)], read_responses),
    "safety prompts": ([{"prompt": f"p{i}", "category": "privacy", "kind": "harmful"} for i in range(5)], read_safety_prompts),
    "split table": (
        [{"benchmark": "D1", "condition": "x", "index": str(i), "split": "train"} for i in range(5)],
        read_split_table,
    ),
    "stems": ([{"stem": f"Write to [NAME] about [BLANK] {i}.", "stem_id": f"s{i}"} for i in range(5)], read_stems),
    "targets": ([{"sft": f"Answer {i}."} for i in range(5)], read_targets),
    "terms": ([{"term": w, "identity": f"{w}s", "axis": "trade"} for w in ("weaver", "smith", "baker")], read_terms),
    "transfer": (
        [
            {
                "id": f"q{n}", "domain": "legal", "needs": "difference", "group": "a", "query": f"{TEXT} {n}",
                "key_fact": "It is 16.", "key_terms": "16|sixteen",
            }
            for n in range(4)
        ],
        read_transfer,
    ),
}  # fmt: skip
CELLS = [
    "",
    " ",
    "nan",
    "-1",
    "1e999",
    "9" * 5000,
    "\x00",
    "'",
    '"',
    "=1+1",
    "[" * 3000,
    "{}",
    "null",
    "\ud83d",
    "x" * 9000,
    "\r\n",
    ";",
]
VALUES = [
    "null",
    "true",
    "1e400",
    "NaN",
    "9" * 5000,
    "[" * 2000 + "]" * 2000,
    '{"a":[1]}',
    '"\\ud800"',
    "[1,2]",
    "-0.5",
    '"\\u0000"',
]
BYTES = [
    b"\x00",
    b"\xff",
    b"\xfe\xff",
    b'"',
    b",",
    b"\n",
    b"\r",
    b"{",
    b"[",
    b"\\",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x1a",
]
ROUNDS = 13


def written(rows: Rows, suffix: str) -> bytes:
    """The rows as a file of this type."""
    out = io.StringIO()
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".parquet":
        packed = io.BytesIO()
        pl.DataFrame(rows).write_parquet(packed)
        return packed.getvalue()
    writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if suffix == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, put in, or cut off; lines swapped, repeated or lost."""
    kind = rng.randrange(5)
    at = rng.randrange(len(data))
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + rng.choice(BYTES) + data[at:]
    lines = data.split(b"\n")
    if kind == 3:
        rng.shuffle(lines)
        return b"\n".join(lines)
    first = rng.randrange(len(lines))
    return b"\n".join(lines[:first] + lines[first + rng.choice((-1, 1)) :])


def odd_column(rows: Rows, rng: random.Random) -> bytes:
    """A Parquet file in which one column has another type."""
    name, count = rng.choice(list(rows[0])), len(rows)
    kinds: list[Any] = [
        pl.Series(name, [timedelta(seconds=i) for i in range(count)]),
        pl.Series(name, [date(2000, 1, 1)] * count),
        pl.Series(name, [b"\xff\x00"] * count),
        pl.Series(name, [["a", None]] * count),
        pl.Series(name, [{"a": b"\xff"}] * count),
        pl.Series(name, [None] * count),
        pl.Series(name, ["a"] * count, dtype=pl.Categorical),
        pl.Series(name, [1] * count).cast(pl.Decimal(10, 2)),
        pl.Series(name, [float("nan")] * count),
        pl.Series(name, [0] * count).cast(pl.Time),
        pl.Series(name, [-(2**62)] * count).cast(pl.Datetime("ms")),
        pl.Series(name, [True] * count),
    ]
    frame = pl.DataFrame(rows).with_columns(rng.choice(kinds))
    packed = io.BytesIO()
    (frame.head(0) if rng.random() < 0.1 else frame).write_parquet(packed)
    return packed.getvalue()


def mutated(rows: Rows, suffix: str, rng: random.Random) -> bytes:
    """One mutation: of the bytes, or of the type or text of one cell."""
    if rng.random() < 0.5:
        return damaged(written(rows, suffix), rng)
    if suffix == ".parquet":
        return odd_column(rows, rng)
    changed = [dict(row) for row in rows]
    row = rng.choice(changed)
    name = rng.choice(list(row))
    if suffix == ".jsonl":
        row[name] = "@here@"
        return written(changed, suffix).replace(b'"@here@"', rng.choice(VALUES).encode())
    row[name] = rng.choice(CELLS)
    return written(changed, suffix)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_unchanged_file_is_read(tmp_path: Path, name: str, suffix: str) -> None:
    rows, read = READERS[name]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(written(rows, suffix))
    read(path)


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_a_sentence_or_a_clean_read(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rows, read = READERS[name]
    rng = random.Random(f"readers {name}")
    refused = 0
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        path = tmp_path / f"rows{suffix}"
        for _ in range(ROUNDS):
            path.write_bytes(mutated(rows, suffix, rng))
            try:
                read(path)
            except EvenhandError as error:
                assert str(path) in str(error), "the sentence must name the file"  # noqa: PT017
                refused += 1
    assert 0 < refused < 4 * ROUNDS
    assert capfd.readouterr().err == ""


def test_mutated_json_lists_are_sentences_or_clean_reads(tmp_path: Path) -> None:
    rng = random.Random("sacpo")
    path = tmp_path / "problems.json"
    good = json.dumps([{"prompt": f"p{i}", "category": "privacy"} for i in range(4)])
    path.write_text(good)
    assert len(read_problems(path, "harmful")[0]) == 4
    for turn in range(60):
        odd = good.replace('"privacy"', rng.choice(VALUES), 1).encode()
        path.write_bytes(odd if turn % 2 else damaged(good.encode(), rng))
        try:
            read_problems(path, "harmful")
        except EvenhandError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_there_are_a_thousand_mutations() -> None:
    assert len(READERS) * 4 * ROUNDS >= 1000
