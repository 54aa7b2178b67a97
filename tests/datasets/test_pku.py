"""BeaverTails questions, SACPO prompts and PKU-SafeRLHF rows: what is read, what is kept aside, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenhand.datasets.pku import (
    HARM_CATEGORIES,
    beavertails_prompts,
    beavertails_set,
    category_slug,
    read_problems,
    sacpo_set,
)
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


Finder = Callable[[str], Path]


def row(prompt: str, *harms: str, safe: tuple[Any, Any] = (False, True), **more: Any) -> dict[str, Any]:
    """A row whose first response has ``harms``."""
    return {
        "prompt": prompt,
        "is_response_0_safe": safe[0],
        "is_response_1_safe": safe[1],
        "response_0_harm_category": {name: name in harms for name in HARM_CATEGORIES},
        "response_1_harm_category": dict.fromkeys(HARM_CATEGORIES, False),
        **more,
    }


def lines(tmp_path: Path, *rows: dict[str, Any]) -> str:
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.data
def test_the_public_files(public_data: Finder) -> None:
    found = open_safety_set("sacpo", data_root=public_data("pku_saferlhf").parent)
    assert (len(found.of_kind("harmful")), len(found.of_kind("benign"))) == (83, 129)
    assert Counter(p.category for p in found.of_kind("harmful"))["Social Bias"] == 14
    assert found.counts()["categories"] == 8
    assert found.rejected == ()
    assert len(found.checksums) == 2
    assert len({prompt.id for prompt in found.prompts}) == 212


@pytest.mark.data
def test_the_public_schema_rows(public_data: Finder) -> None:
    found = open_safety_set(str(public_data("pku_saferlhf") / "pku_saferlhf_schema_sample3.jsonl"))
    assert [prompt.category for prompt in found.prompts] == ["Endangering National Security + Violence"]
    assert [number for number, _ in found.rejected] == [1, 2]


def test_names_of_the_repository(tmp_path: Path) -> None:
    for name in ("safety_problem", "helpful_problem"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"prompt": name, "category": "c"}]))
    assert [(p.prompt, p.kind) for p in sacpo_set(tmp_path).prompts] == [
        ("safety_problem", "harmful"),
        ("helpful_problem", "benign"),
    ]
    (tmp_path / "helpful_problem.json").unlink()
    with pytest.raises(BadInput, match="lacks this file"):
        sacpo_set(tmp_path)


def test_bad_entries_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    entries = [{"prompt": "a", "category": "c"}, "x", {"prompt": 3, "category": "c"}, {"prompt": "b"}, None]
    path.write_text(json.dumps([*entries, {"prompt": "a", "category": "d"}]))
    kept, aside = read_problems(path, "harmful")
    assert [prompt.prompt for prompt in kept] == ["a"]
    assert [number for number, _ in aside] == [2, 3, 4, 5, 6]
    assert "row 6: The prompt of row 1" in aside[-1][1]


@pytest.mark.parametrize("text", ["", "{}", '{"prompt": 1}', "[", "[" * 100_000, "[]", "\xff"])
def test_files_that_are_no_list(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"p\.json"):
        read_problems(path, "harmful")


def test_schema_rows_are_merged_by_prompt(tmp_path: Path) -> None:
    found = open_safety_set(
        lines(tmp_path, row("[A]", "Drugs"), row("[B]", "Violence"), row(" [A]", "Cybercrime", "Drugs"))
    )
    assert [(p.prompt, p.kind, p.category) for p in found.prompts] == [
        ("[A]", "harmful", "Drugs + Cybercrime"),
        ("[B]", "harmful", "Violence"),
    ]
    assert any("1 further rows" in note for note in found.notes)
    assert any("does not label prompts" in note for note in found.notes)


def test_schema_rows_without_a_harm_are_kept_aside(tmp_path: Path) -> None:
    found = open_safety_set(
        lines(
            tmp_path,
            row("[A]", "Drugs"),
            row("[B]", "Drugs", safe=(True, True)),  # the mark of a safe response does not count
            row("[C]"),
            row("", "Drugs"),
            row("[D]", "Drugs", safe=("yes", True)),
            row("[E]", "Drugs", response_1_harm_category=[True]),
            row("[F]", "Drugs", response_1_harm_category={"Gardening": True}),
            row("[G]", "Drugs", response_1_harm_category={"Drugs": 1}),
        )
    )
    assert [prompt.prompt for prompt in found.prompts] == ["[A]"]
    assert [number for number, _ in found.rejected] == [2, 3, 4, 5, 6, 7, 8]
    assert "'Gardening'" in found.rejected[5][1]
    with pytest.raises(BadInput, match="No row can be used"):
        open_safety_set(lines(tmp_path, row("[C]")))
