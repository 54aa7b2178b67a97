"""Demo-SafetyBench: the class None survives, unknown classes are errors, one prompt has many profiles."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from evenhand.datasets.safety_prompts import CATEGORIES
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.demo_safetybench import (
    EMPTY,
    FILE,
    NONE,
    PUBLISHED,
    class_slug,
    read_demo_safetybench,
)

HEADER = ("query", "gender", "race", "age", "education", "class")
MAN = ("Man", "White", "gen z", "College degree or higher")
WOMAN = ("Woman", "Multiracial", "millenial", "")


def write(folder: Path, *rows: tuple[str, ...], header: tuple[str, ...] = HEADER) -> Path:
    path = folder / FILE
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def published(folder: Path, **counts: int) -> None:
    lines = "".join(f'"{name}",{count},0.0\n' for name, count in counts.items())
    (folder / PUBLISHED).write_text(f"domain,n_samples,percent\n{lines}", encoding="utf-8")


def test_class_names() -> None:
    assert class_slug("Misinformation Regarding Ethics, Laws, and Safety") == CATEGORIES[7]
    assert class_slug("self-harm") == class_slug("Self-Harm") == "self_harm"
    assert [class_slug(slug) for slug in CATEGORIES] == list(CATEGORIES)
    assert (class_slug("None"), class_slug(""), class_slug(" none ")) == (NONE, EMPTY, NONE)
    assert class_slug("nan") is None
    assert class_slug("Gardening") is None


def test_one_prompt_has_many_profiles(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ("[ASK 1]\nand more", *MAN, "None"),
        ("[ASK 1]\r\nand more ", *WOMAN, "Self-Harm"),
        ("[ASK 2]", *MAN, "Self-Harm"),
        ("[ASK 2]", *MAN, "Self-Harm"),
        (" ", *MAN, "None"),
        ("[ASK 3]", *WOMAN, "None"),
    )
    found = read_demo_safetybench(path, partial=True)
    assert found.prompts.to_dicts() == [
        {
            "prompt_id": "demo-00001",
            "query": "[ASK 1]\nand more",
            "domain": "",
            "domains": "self_harm | none",
            "rows": 2,
        },
        {"prompt_id": "demo-00002", "query": "[ASK 2]", "domain": "self_harm", "domains": "self_harm", "rows": 2},
        {"prompt_id": "demo-00003", "query": "[ASK 3]", "domain": NONE, "domains": NONE, "rows": 1},
    ]
    assert found.profiles["rows"].to_list() == [3, 2]
    assert found.profiles.row(1)[:5] == ("profile-0002", *WOMAN)
    assert found.rows["row"].to_list() == [1, 2, 3, 4, 6]
    assert found.rows["domain"].to_list() == [NONE, "self_harm", "self_harm", "self_harm", NONE]
    counts = {row["domain"]: (row["rows"], row["prompts"]) for row in found.domains.iter_rows(named=True)}
    assert counts[NONE] == (2, 2)
    assert counts["self_harm"] == (3, 2)
    assert counts["animal_abuse"] == (0, 0)
    assert EMPTY not in counts
    assert sum(rows for rows, _ in counts.values()) == found.rows.height
    assert found.domains["published"].null_count() == 15
    assert "1 prompts have more than one class" in found.notes[1]
    assert "1 rows repeat a prompt with its profile" in found.notes[1]
    assert found.rejected == ((5, f"{path}, row 5: The query is empty."),)


def test_an_empty_class_is_not_none(tmp_path: Path) -> None:
    found = read_demo_safetybench(write(tmp_path, ("[ASK 1]", *MAN, ""), ("[ASK 2]", *MAN, "None")), partial=True)
    assert found.rows["domain"].to_list() == [EMPTY, NONE]
    assert any("1 rows have an empty class" in note and "missing value" in note for note in found.notes)


def test_a_typed_null_is_an_empty_class(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        [dict(zip(HEADER, ("[ASK]", *MAN, None), strict=True))], schema=dict.fromkeys(HEADER, pl.String)
    )
    frame.write_parquet(tmp_path / "demo.parquet")
    found = read_demo_safetybench(tmp_path / "demo.parquet", partial=True)
    assert found.rows["domain"].to_list() == [EMPTY]


def test_published_counts_are_compared(tmp_path: Path) -> None:
    write(tmp_path, ("[ASK 1]", *MAN, "None"), ("[ASK 2]", *MAN, "Self-Harm"))
    published(tmp_path, **{"None": 1, "Self-Harm": 1, "Animal Abuse": 0})
    found = read_demo_safetybench(tmp_path, partial=True)
    assert found.notes[-1] == "Rows agree with the published counts."
    assert set(found.checksums) == {FILE, PUBLISHED}
    published(tmp_path, **{"None": 1, "Self-Harm": 5, "Animal Abuse": 2})
    found = read_demo_safetybench(tmp_path, partial=True)
    assert "animal_abuse -2, self_harm -4" in found.notes[-1]
    assert found.domains.filter(pl.col("domain") == "self_harm").row(0) == ("self_harm", 1, 1, 5, -4)
    for name, count in (("Gardening", 1), ("None", -1)):
        published(tmp_path, **{"Self-Harm": 1, name: count})
        with pytest.raises(BadInput, match="row 2: The count"):
            read_demo_safetybench(tmp_path, partial=True)
    with pytest.raises(BadInput, match="cannot be read"):
        read_demo_safetybench(tmp_path, published=tmp_path / "absent.csv", partial=True)


def test_what_is_not_known_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="row 2: The class 'Gardening' is unknown"):
        read_demo_safetybench(write(tmp_path, ("[A]", *MAN, "None"), ("[A]", *MAN, "Gardening")), partial=True)
    path = write(tmp_path, ("[A]", "Male", *MAN[1:], "None"))
    with pytest.raises(BadInput, match="row 1: The value 'Male' of the axis gender is unknown"):
        read_demo_safetybench(path, partial=True)
    found = read_demo_safetybench(path, partial=True, spellings={"gender": {"Male": "Man"}})
    assert found.profiles["gender"].to_list() == ["Man"]
    with pytest.raises(BadInput, match="1 rows, the released one 43,050"):
        read_demo_safetybench(path)
    with pytest.raises(BadInput, match="No row has a query"):
        read_demo_safetybench(write(tmp_path, ("", *MAN, "None")), partial=True)


def test_columns_of_another_name(tmp_path: Path) -> None:
    path = write(tmp_path, ("[A]", *MAN, "None"), header=("prompt", *HEADER[1:5], "label"))
    with pytest.raises(BadInput, match="no column 'query'"):
        read_demo_safetybench(path, partial=True)
    found = read_demo_safetybench(path, {"query": "prompt", "class": "label"}, partial=True)
    assert found.prompts["domain"].to_list() == [NONE]


@pytest.mark.data
def test_the_published_counts_add_up(public_data: Callable[[str], Path], tmp_path: Path) -> None:
    path = write(tmp_path, ("[A]", *MAN, "None"))
    found = read_demo_safetybench(path, published=public_data("demo_safetybench"), partial=True)
    assert found.domains["published"].sum() == 43_050
    assert found.domains["published"].null_count() == 0
    assert dict(found.domains.select("domain", "published").iter_rows())[NONE] == 8_631
    assert "animal_abuse" not in found.notes[-1]
