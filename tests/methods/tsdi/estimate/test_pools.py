"""Token pools: the built-in text, MMLU rows, any text, uniform and distinct ids; what is refused, with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.methods.tsdi.estimate.pools import FEWEST, builtin_passages, open_pool, pool_files

PASSAGES = tuple(builtin_passages())


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> Any:
    return tiny.make_tokenizer()


def opened(asked: str | Path, tokenizer: Any, **columns: str) -> Any:
    return open_pool(str(asked), tokenizer, valid=range(len(tokenizer)), excluded=range(6), columns=columns)


def test_the_builtin_pool_is_3000_words_of_text_on_many_subjects(tokenizer: Any) -> None:
    assert sum(len(passage.split()) for passage in PASSAGES) >= 3_000
    assert len(set(PASSAGES)) == len(PASSAGES) >= 60
    assert sum(passage.endswith("?") for passage in PASSAGES) >= 20
    pool = opened("builtin", tokenizer)
    assert pool.size > 3_000
    assert pool.digest == opened("builtin", tokenizer).digest
    assert pool.ids.min() >= 6
    texts = tokenizer(list(PASSAGES), add_special_tokens=False).input_ids
    assert pool.ids.tolist() == [i for ids in texts for i in ids]  # occurrences, in order: draws follow their frequency


def test_uniform_and_distinct(tokenizer: Any) -> None:
    uniform = opened("uniform", tokenizer)
    assert uniform.ids.tolist() == list(range(6, len(tokenizer)))
    distinct = opened("distinct:builtin", tokenizer)
    assert distinct.ids.tolist() == sorted(set(opened("builtin", tokenizer).ids.tolist()))
    assert distinct.name == "distinct:builtin"


def test_control_tokens_in_a_text_never_enter(tokenizer: Any, tmp_path: Path) -> None:
    """Also where the user's text spells them out (9.15)."""
    path = tmp_path / "traffic.txt"
    path.write_text("<|user|>Tell me a joke<|end|>\n" * 300, encoding="utf-8")
    pool = opened(path, tokenizer)
    assert pool.removed == 600
    assert pool.ids.min() >= 6


def test_a_text_column_of_csv_jsonl_and_parquet(tokenizer: Any, tmp_path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame({"prompt": [f"Tell me about number {n}, please." for n in range(200)], "other": ["x"] * 200})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    digests = {opened(tmp_path / f"a.{kind}", tokenizer).digest for kind in ("csv", "jsonl", "parquet")}
    assert len(digests) == 1
    with pytest.raises(BadInput, match="There is no column 'nowhere' for text"):
        opened(tmp_path / "a.csv", tokenizer, text="nowhere")
    assert opened(tmp_path / "a.csv", tokenizer, text="prompt").digest in digests


def mmlu(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_questions_with_choices_are_text_and_bad_rows_are_named(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"subject": "s", "question": f"What is {n}?", "choices": ["a", "b", "c", f"d{n}"]} for n in range(200)]
    path = mmlu(tmp_path / "q.jsonl", rows)
    pool = opened(path, tokenizer)
    first = tokenizer("What is 0?\na\nb\nc\nd0", add_special_tokens=False).input_ids
    assert pool.ids[: len(first)].tolist() == first
    for bad in ("a, b", ["a"], [1, 2, 3, 4], None):
        rows[2] = {"subject": "s", "question": "What?", "choices": bad}
        with pytest.raises(BadInput, match=r"q\.jsonl, row 3: The choices are not a list of texts"):
            opened(mmlu(path, rows), tokenizer)
    rows[2] = {"subject": "s", "question": " ", "choices": ["a", "b", "c", "d"]}
    with pytest.raises(BadInput, match=r"q\.jsonl, row 3: The row has no text"):
        opened(mmlu(path, rows), tokenizer)
    path.write_text('{"question": "a", "choices": ["a", "b"]}\n{"question": ', encoding="utf-8")
    with pytest.raises(BadInput, match=r"q\.jsonl, row 2: The line is not JSON"):
        opened(path, tokenizer)


@pytest.mark.data
def test_the_mmlu_questions(tokenizer: Any, public_data: Callable[[str], Path]) -> None:
    folder = public_data("pku_saferlhf") / "token_pool"
    files = pool_files(str(folder))
    assert sum(len(path.read_text("utf-8").strip().split("\n")) for path in files) == 1_816
    pool = opened(folder, tokenizer)
    assert pool.size > 100_000
    parts = [opened(path, tokenizer) for path in files]
    assert pool.ids.tolist() == np.concatenate([part.ids for part in parts]).tolist()


def test_a_tiny_pool_is_refused_with_its_count(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("Tell me a joke about cats and dogs.", encoding="utf-8")
    with pytest.raises(BadInput, match=r"few\.txt: The pool holds \d+ token occurrences .* at least 1,000 are needed"):
        opened(path, tokenizer)
    path.write_text("<|end|>" * 2 * FEWEST, encoding="utf-8")
    with pytest.raises(BadInput, match="The pool holds 0 token occurrences"):
        opened(path, tokenizer)


def test_pools_that_are_not_there(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no pool 'mmlu', and no such file\. Known pools: builtin, uniform"):
        opened("mmlu", tokenizer)
    with pytest.raises(BadInput, match="The folder holds no texts"):
        opened(tmp_path, tokenizer)
    with pytest.raises(BadInput, match="holds each id once already"):
        opened("distinct:uniform", tokenizer)
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadInput, match=r"x\.txt: The file is not UTF-8 \(byte 3\)"):
        opened(tmp_path / "x.txt", tokenizer)
    for name in ("builtin", "uniform"):
        with pytest.raises(BadInput, match="no columns to map"):
            opened(name, tokenizer, text="prompt")
