"""Entry at labels: long rows and count tables, and every way they can be wrong."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.datasets.labels import COLUMNS, normalise_label, read_labels
from evenhand.errors import BadInput
from evenhand.records import LABELS

LONG = {
    "model": ["m", "m", "m", "m"],
    "group": ["a", "a", "b", "b"],
    "name": ["Ann", "Ann", "Bo", "Bo"],
    "stem_id": ["S1", "S1", "S1", "S1"],
    "rep": ["1", "2", "1", "2"],
    "label": ["answer", "Harmful Refusal ", "partial  answer", "REFUSAL"],
}


def long(**changes: list[str]) -> pl.DataFrame:
    return pl.DataFrame({**LONG, **changes})


def test_long_rows() -> None:
    table = read_labels(long(gender=["w", "w", "m", "m"]))
    assert table.kind == "rows"
    assert table.clusters == ("name", "stem")
    assert table.attributes == ("gender",)
    assert table.frame.columns == [*COLUMNS, "gender"]
    assert table.frame["label"].to_list() == ["answer", "harmful refusal", "partial answer", "refusal"]
    assert table.frame["repetition"].to_list() == [1, 2, 1, 2]
    assert table.frame["config"].to_list() == ["m"] * 4
    assert table.frame["count"].sum() == 4


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame, pa.table])
def test_frames_of_every_kind(make: object) -> None:
    assert read_labels(make(LONG)).frame.equals(read_labels(pl.DataFrame(LONG)).frame)  # type: ignore[operator]


def test_model_and_config_are_both_part_of_the_key() -> None:
    table = read_labels(long(config=["x", "x", "y", "y"]))
    assert table.frame["config"].to_list() == ["m | x", "m | x", "m | y", "m | y"]
    assert read_labels(long(config=["x", "x", "y", "y"]), {"config": "config"}).attributes == ("model",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": ["answer", "refused", "answer", "answer"]},
            r"frame, row 2: The label 'refused' is not known\. The labels are: answer, partial answer, failure, ",
        ),
        ({"label": ["answer", "judge said no", "answer", "answer"]}, r"row 2: The label 'judge said no' is not known"),
        (
            {"rep": ["1", "1", "1", "2"]},
            r"frame, row 2: Rows 1 and 2 are about the same thing \(config m, stem S1, name Ann, repet",
        ),
        ({"rep": ["1", "2", "x", "2"]}, r"row 3: The repetition 'x' is not a whole number"),
        ({"rep": ["1", "2", "1.5", "2"]}, r"row 3: The repetition '1\.5' is not a whole number"),
        (
            {"rep": ["1", "2", str(2**64 - 1), "2"]},
            r"row 3: The repetition '18446744073709551615' is not a whole number",
        ),
        ({"group": ["a", "a", "b", "a"]}, r"row 4: 'Bo' is listed under two groups, 'b' \(row 3\) and 'a'"),
        ({"group": ["a", "a", "b", ""]}, r"row 4: The column 'group' \(group\) is empty"),
        ({"name": ["", "Ann", "Bo", "Bo"]}, r"row 1: The column 'name' \(name\) is empty"),
        (
            {"row": ["1", "2", "3", "4"]},
            r"These columns play no role here but bear the name of one: row\. Map them, or rename",
        ),
    ],
)
def test_bad_long_rows(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_labels(long(**changes))


def test_no_repetition_column_means_duplicates() -> None:
    with pytest.raises(BadInput, match="map the column that tells them apart"):
        read_labels(long().drop("rep"))


def test_missing_labels_are_missing_with_a_reason() -> None:
    table = read_labels(pl.DataFrame({**LONG, "label": ["answer", None, " ", "judge_missing"]}))
    assert table.frame["label"].to_list() == ["answer", None, None, None]
    assert table.frame["missing"].to_list() == ["", "label_missing", "label_missing", "judge_missing"]


def test_own_label_words_are_translated_only_when_told() -> None:
    data = long(label=["0", "1", "0", "1"])
    with pytest.raises(BadInput, match="row 1: The label '0' is not known"):
        read_labels(data)
    assert read_labels(data, values={"1": "refusal", "0": "answer"}).frame["label"].to_list()[:2] == [
        "answer",
        "refusal",
    ]
    with pytest.raises(BadInput, match="'1' cannot mean 'declined'"):
        read_labels(data, values={"1": "declined"})


def test_neither_kind() -> None:
    with pytest.raises(
        BadInput, match=r"neither a label column nor a set of count columns\. Found: group, x\. .*--map label="
    ):
        read_labels(pl.DataFrame({"group": ["a"], "x": ["y"]}))


COUNTS = {
    "name": ["Ann", "Bo"],
    "group": ["a", "b"],
    "answer": [3, 2],
    "Harmful_Refusal": [0, 1],
    "refusal": [1, 0],
    "n": [4, 3],
}


def test_count_tables() -> None:
    table = read_labels(pl.DataFrame({**COUNTS, "frequency": ["common", "rare"]}))
    assert table.kind == "counts"
    assert table.clusters == ("name",)
    assert table.attributes == ("frequency",)
    rows = table.frame.select("name", "label", "count", "row", "frequency").rows()
    assert rows == [
        ("Ann", "answer", 3, 1, "common"),
        ("Ann", "refusal", 1, 1, "common"),
        ("Bo", "answer", 2, 2, "rare"),
        ("Bo", "harmful refusal", 1, 2, "rare"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": [4, 4]}, r"frame, row 2: The counts add up to 3, n says 4\. Every response needs one label"),
        ({"answer": [3, -2]}, r"row 2: The count '-2' in column 'answer' is not a whole number"),
        ({"answer": ["3", "2.5"]}, r"row 2: The count '2\.5' in column 'answer' is not a whole number"),
        ({"answer": ["3", ""]}, r"row 2: The count '' in column 'answer'"),
        ({"answer": ["3", "nan"]}, r"row 2: The count 'nan' in column 'answer'"),
        ({"answer": ["3", "inf"]}, r"row 2: The count 'inf' in column 'answer'"),
        ({"name": ["Ann", "Ann"], "group": ["a", "a"]}, r"row 2: Rows 1 and 2 are about the same thing"),
        ({"answer": [0, 2], "refusal": [0, 0], "n": [0, 3]}, r"row 1: The counts add up to 0, n says 0"),
    ],
)
def test_bad_count_tables(changes: dict[str, list[object]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_labels(pl.DataFrame({**COUNTS, **changes}))


def test_count_table_without_n() -> None:
    with pytest.raises(BadInput, match=r"There is no column 'n'\. Found: .* Name the right one with --map n=COLUMN"):
        read_labels(pl.DataFrame(COUNTS).drop("n"))


@given(st.sampled_from(LABELS), st.data())
def test_labels_survive_case_and_space(label: str, data: st.DataObject) -> None:
    spaces = st.text(alphabet=" \t\n\u00a0", min_size=1, max_size=3)
    text = data.draw(spaces) + data.draw(spaces).join(
        label.upper().split() if data.draw(st.booleans()) else label.split()
    )
    assert normalise_label(text) == label


@settings(deadline=None)
@given(st.text(max_size=20))
def test_nothing_else_becomes_a_label(text: str) -> None:
    if " ".join(text.casefold().replace("_", " ").split()) not in LABELS:
        assert normalise_label(text) is None
