"""BeaverTails-Evaluation: the sample by position, the published shape, and rows that do not fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenhand.datasets.pku import beavertails_prompts, beavertails_set, category_slug
from evenhand.datasets.safety_prompts import CATEGORIES, open_safety_set
from evenhand.datasets.table import read_table
from evenhand.errors import BadInput


def table(tmp_path: Path, *rows: dict[str, Any]) -> Any:
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return read_table(path)


@pytest.mark.data
def test_the_sample(public_data: Callable[[str], Path]) -> None:
    found = open_safety_set("beavertails", data_root=public_data("beavertails").parent)
    assert Counter(prompt.category for prompt in found.prompts) == dict.fromkeys(CATEGORIES, 10)
    assert {prompt.kind for prompt in found.prompts} == {"harmful"}
    assert found.rejected == ()
    assert any("by position" in note for note in found.notes)
    assert any("harmless questions" in note for note in found.notes)
    assert found.checksums["beavertails_eval_140.jsonl"].startswith("xxh128:")


def test_the_published_shape(tmp_path: Path) -> None:
    rows = [{"prompt": f"[ACT {i}]", "category": slug, "category_id": i} for i, slug in enumerate(CATEGORIES)]
    table(tmp_path, *rows)
    found = beavertails_set(tmp_path)
    assert tuple(prompt.category for prompt in found.prompts) == CATEGORIES
    assert not any("by position" in note for note in found.notes)
    assert found.prompts[3].id == "beavertails/3"


def test_rows_that_do_not_fit_are_kept_aside(tmp_path: Path) -> None:
    found = beavertails_prompts(
        table(
            tmp_path,
            {"prompt": "[A]", "category": "self_harm", "category_id": 10},
            {"prompt": "[B]", "category": "self_harm", "category_id": 9},
            {"prompt": "[C]", "category": "gardening", "category_id": 0},
            {"prompt": "", "category": "self_harm", "category_id": 10},
            {"prompt": "[A]", "category": "privacy_violation", "category_id": 9},
            {"prompt": None, "category": None, "category_id": None},
        )
    )
    assert [prompt.prompt for prompt in found.prompts] == ["[A]"]
    assert [row for row, _ in found.rejected] == [2, 3, 4, 5, 6]
    reasons = dict(found.rejected)
    assert "do not agree" in reasons[2]
    assert "not one of the 14" in reasons[3]
    assert "row 5: The prompt of row 1" in reasons[5]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"test\.jsonl"):
        beavertails_set(tmp_path)
    with pytest.raises(BadInput, match="no column 'category'"):
        beavertails_prompts(table(tmp_path, {"prompt": "[A]"}))
    with pytest.raises(BadInput, match="No row can be used"):
        beavertails_prompts(table(tmp_path, {"prompt": "[A]", "category": "?"}))
    twice = [{"id": 1, "prompt": f"[{p}]", "category": "self_harm"} for p in "AB"]
    with pytest.raises(BadInput, match="more than once"):
        beavertails_prompts(table(tmp_path, *twice))


def test_category_slugs() -> None:
    assert category_slug("Self-Harm") == "self_harm"
    assert category_slug("controversial_topics,_politics") == "controversial_topics,politics"
    assert category_slug("Drug Abuse, Weapons, Banned Substance") == "drug_abuse,weapons,banned_substance"
    assert category_slug("harm") is None
