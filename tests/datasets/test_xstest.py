"""XSTest v2: table 6.2 of the specification, the class mapping, unparsable judge texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from evenhand.datasets.xstest import XSTEST_CLASSES, XSTest, labels_of_class, to_xstest_class
from evenhand.errors import BadInput
from evenhand.records import LABELS

Finder = Callable[[str], Path]

TABLE = {  # safe full, safe partial, unsafe compliance (percent), kappa, prefix accuracy, judge accuracy
    "llama2orig": (38.0, 21.6, 0.0, 0.93, 0.893, 0.793),
    "llama2new": (14.0, 15.6, 0.0, 0.93, 0.924, 0.804),
    "gpt4": (6.4, 2.0, 0.5, 0.97, 0.936, 0.938),
    "mistralguard": (9.6, 9.2, 3.5, 0.89, 0.809, 0.816),
    "mistralinstruct": (0.8, 0.8, 64.0, 0.92, 0.860, 0.756),
}


@pytest.fixture
def data(public_data: Finder) -> XSTest:
    return XSTest(public_data("xstest"))


@pytest.mark.data
def test_table_6_2(data: XSTest) -> None:
    summary = data.summary()
    assert set(summary) == set(TABLE)
    for model, (full, partial, compliance, kappa, prefix, judge) in TABLE.items():
        row = summary[model]
        assert round(100 * row["safe_full_refusal"], 1) == full
        assert round(100 * row["safe_partial_refusal"], 1) == partial
        assert round(100 * row["unsafe_full_compliance"], 1) == compliance
        assert row["kappa"] == pytest.approx(kappa, abs=0.005)
        assert row["prefix_accuracy"] == pytest.approx(prefix, abs=0.0005)
        assert row["judge_accuracy"] == pytest.approx(judge, abs=0.0005)


@pytest.mark.data
def test_kappa_agrees_with_our_statistics(data: XSTest) -> None:
    from evenhand.statistics.agreement import cohen_kappa

    codes = {c: i for i, c in enumerate(XSTEST_CLASSES)}
    for model, row in data.summary().items():
        rows = data.labels().filter(pl.col("model") == model)
        ratings = [[codes[a], codes[b]] for a, b in rows.select("annotation_1", "annotation_2").rows()]
        assert cohen_kappa(ratings) == pytest.approx(row["kappa"], abs=1e-12)


@pytest.mark.data
def test_unparsable_judgements_are_missing_not_a_class(data: XSTest) -> None:
    labels = data.labels()
    missing = labels.filter(pl.col("gpt4_label").is_null())
    assert labels.height == 2250
    assert missing.height == 11
    assert missing["model"].unique().to_list() == ["mistralinstruct"]
    assert all(len(text) > 20 for text in missing["judge_missing"])


@pytest.mark.data
def test_items(data: XSTest) -> None:
    items = data.items()
    assert Counter(i.group for i in items) == {"safe": 250, "unsafe": 200}
    assert set(Counter(i.stratum for i in items).values()) == {25}
    assert len(data.items(subset="unsafe")) == 200
    assert items[0].id == "xstest/v2-1"
    assert [m.role for m in items[0].chat] == ["user"]
    contrasts = {i.attributes["contrast_of"] for i in items if i.group == "unsafe"}
    assert contrasts <= {i.stratum for i in items if i.group == "safe"} | {i.stratum[9:] for i in items}


@pytest.mark.data
def test_completions(data: XSTest) -> None:
    items, responses = data.responses()
    assert (len(items), len(responses)) == (450, 900)
    current = {item.id: item.chat for item in data.items()}
    assert [item.id for item in items if item.chat != current[item.id]] == ["xstest/v2-195"]  # reworded since
    assert data.completion_labels().height == 900
    assert len(data.responses("llama2_gpt4_sample")[1]) == 198


def test_unknown_classes_are_told(tmp_path: Path) -> None:
    header = "model,id,type,annotation_1,annotation_2,agreement,final_label,gpt4_label,strmatch_label\n"
    row = "m,v2-1,homonyms,1_full_compliance,2_refusal,False,1_full_compliance,,1_full_compliance\n"
    (tmp_path / "xstest_v2_labels.csv").write_text(header + row)
    with pytest.raises(
        BadInput, match=r"row 1: The class '2_refusal' in column 'annotation_2' is not known\. The classes are"
    ):
        XSTest(tmp_path).labels()


def test_class_mapping() -> None:
    assert to_xstest_class("refusal") == to_xstest_class("harmful refusal") == "2_full_refusal"
    assert to_xstest_class("answer", hedged=True) == "3_partial_refusal"
    for label in ("answer", "harmful answer", "partial answer", "failure"):
        assert to_xstest_class(label) == "1_full_compliance"
    assert labels_of_class("1_full_compliance") | labels_of_class("2_full_refusal") == set(LABELS)
    assert labels_of_class("2_full_refusal") == {"refusal", "harmful refusal"}
    assert labels_of_class("3_partial_refusal") == set(LABELS)
