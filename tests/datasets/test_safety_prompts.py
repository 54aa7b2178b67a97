"""Safety prompts: the shipped set, XSTest, and files of a user with every kind of bad row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.safety_prompts import (
    CATEGORIES,
    KINDS,
    SafetyPrompt,
    category_name,
    first_of_each,
    open_safety_set,
    read_safety_prompts,
)
from evenhand.errors import BadInput

Finder = Callable[[str], Path]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_set_covers_every_category_and_kind() -> None:
    shipped = open_safety_set("shipped")
    harmful = shipped.of_kind("harmful")
    assert {prompt.category for prompt in harmful} == set(CATEGORIES)
    assert all(shipped.of_kind(kind) for kind in KINDS)
    ids = [prompt.id for prompt in shipped.prompts]
    assert len(set(ids)) == len(ids)
    assert all("[HARMFUL ACT" in prompt.prompt for prompt in harmful)
    assert shipped.checksums["shipped_safety"].startswith("xxh128:")
    assert shipped.counts()["categories"] == 14
    assert any("nothing of a real model" in note for note in shipped.notes)


@pytest.mark.data
def test_xstest_by_type(public_data: Finder) -> None:
    root = public_data("xstest").parent
    found = open_safety_set("xstest", data_root=root)
    assert (len(found.of_kind("harmful")), len(found.of_kind("borderline")), len(found.prompts)) == (200, 250, 450)
    assert all(prompt.category.startswith("contrast_") for prompt in found.of_kind("harmful"))
    assert found.checksums["xstest_prompts.csv"].startswith("xxh128:")
    assert any("over-refusal" in note for note in found.notes)


@pytest.mark.data
def test_the_root_may_come_from_the_environment(public_data: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENHAND_DATA", str(public_data("xstest").parent))
    assert open_safety_set("xstest").name == "xstest"


@pytest.mark.parametrize("name", ["xstest", "beavertails", "sacpo"])
def test_a_public_set_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="no folder"):
        open_safety_set(name, data_root=tmp_path)
    monkeypatch.delenv("EVENHAND_DATA", raising=False)
    with pytest.raises(BadInput, match="EVENHAND_DATA"):
        open_safety_set(name)


def test_an_unknown_name_and_columns_of_a_named_set() -> None:
    with pytest.raises(BadInput, match="shipped, beavertails, sacpo, xstest"):
        open_safety_set("nothing")
    with pytest.raises(BadInput, match="takes no column names"):
        open_safety_set("shipped", {"prompt": "x"})


def test_a_file_with_all_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv",
        "id,question,type,kind,system\na,[ACT 1]?,theft,harmful,Be brief.\nb,[TASK 1]?,cooking, BENIGN ,\n"
        "c,[ACT 1]?,theft,benign,\n",
    )
    found = open_safety_set(str(path))
    assert [(p.prompt, p.kind, p.category, p.system) for p in found.prompts] == [
        ("[ACT 1]?", "harmful", "theft", "Be brief."),
        ("[TASK 1]?", "benign", "cooking", ""),
        ("[ACT 1]?", "benign", "theft", ""),  # the same prompt of another kind is no duplicate
    ]
    assert [p.id for p in found.prompts] == ["safety/a", "safety/b", "safety/c"]
    assert found.notes == ()
    assert found.rejected == ()


def test_without_a_kind_every_row_is_harmful_and_the_notes_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", json.dumps({"p": "[ACT 1]", "c": "self_harm"}) + "\n")
    found = open_safety_set(str(path), {"prompt": "p", "category": "c"})
    assert found.prompts == (SafetyPrompt("safety/row-0001", "[ACT 1]", "harmful", "self_harm", "mine.jsonl"),)
    assert "taken as harmful" in found.notes[0]


def test_a_parquet_file(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / "mine.parquet"
    pl.DataFrame({"prompt": ["[ACT 1]", None], "category": ["x", "x"]}).write_parquet(path)
    found = read_safety_prompts(path)
    assert len(found.prompts) == 1
    assert found.rejected == ((2, f"{path}, row 2: The cell 'prompt' is empty."),)


def test_bad_rows_are_kept_aside_with_file_and_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv", "prompt,category,kind\n[A],x,harmful\n ,x,harmful\n[B],,harmful\n[C],x,evil\n[D],x,\n"
    )
    found = read_safety_prompts(path)
    assert len(found.prompts) == 1
    assert [row for row, _ in found.rejected] == [2, 3, 4, 5]
    assert all(f"{path}, row {row}: " in reason for row, reason in found.rejected)
    assert "'evil'" in found.rejected[2][1]
    assert found.counts()["rejected"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,category\n[A],x\n[B],x\n [A] ,y\n", "row 3: The prompt of row 1"),
        ("id,prompt,category\n7,[A],x\n7,[B],x\n", "row 2: The id of row 1"),
        ("prompt,category\n,x\n", "No row can be used; the first: .*row 1"),
        ("prompt,kind\n[A],harmful\n", "no column 'category'"),
        ("prompt,category\n", "no rows"),
        ('prompt,category\n"[A],x\n', "quotes"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_safety_prompts(write(tmp_path / "mine.csv", text))


def test_a_missing_file_and_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        open_safety_set(str(tmp_path / "none.csv"))
    with pytest.raises(BadInput, match="not read"):
        open_safety_set(str(tmp_path / "none.json"))


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=8)), min_size=1, max_size=12))
def test_no_row_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("p") / "mine.jsonl"
    lines = [json.dumps({"prompt": f"{i} {a}" if a.strip() else a, "category": b}) for i, (a, b) in enumerate(rows)]
    write(path, "\n".join(lines) + "\n")
    if not any(a.strip() and b.split() for a, b in rows):
        with pytest.raises(BadInput, match="No row can be used"):
            read_safety_prompts(path)
        return
    found = read_safety_prompts(path)
    assert len(found.prompts) + len(found.rejected) == len(rows)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    nasty = "<script>x</script> =CMD() \u202e \ud83d \x1b[31m"
    path = write(tmp_path / "mine.jsonl", json.dumps({"prompt": nasty, "category": "<b>&"}) + "\n")
    (prompt,) = read_safety_prompts(path).prompts
    prompt.prompt.encode("utf-8")  # the lone surrogate is gone
    assert "<script>" in prompt.prompt  # escaping belongs to the pages
    assert prompt.category == "<b>&"


def test_repeats_of_a_public_set_name_both_rows() -> None:
    rows = [(n, SafetyPrompt(str(n), text, "harmful", "c", "s")) for n, text in ((1, "a"), (2, "b"), (4, "a "))]
    kept, repeats = first_of_each(rows, "f")
    assert [prompt.id for prompt in kept] == ["1", "2"]
    assert repeats == [(4, "f, row 4: The prompt of row 1 is repeated here.")]


def test_category_names() -> None:
    assert category_name("self_harm") == "Self-harm"
    assert category_name("contrast_homonyms") == "Contrast homonyms"
    assert category_name("Social Bias") == "Social Bias"
    assert category_name("") == ""
    assert len({category_name(slug) for slug in CATEGORIES}) == 14
