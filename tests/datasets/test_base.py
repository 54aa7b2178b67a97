"""Item ids, sources and the shape of every registered dataset."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.base import Dataset, Sources, clean_key, item_id, open_dataset, slug
from evenhand.errors import BadInput
from evenhand.registry import CLASSIFIERS, DATASETS, GRADERS


def test_item_ids_are_readable() -> None:
    assert item_id("service", "S01", "Emily") == "service/S01/Emily"
    assert item_id("service", "S01", "José") == "service/S01/José"


def test_item_ids_are_nfc() -> None:
    assert item_id("service", "S01", unicodedata.normalize("NFD", "Zhòng")) == "service/S01/Zhòng"


def test_odd_pieces_get_a_digest() -> None:
    first, second = slug("a/b"), slug("a b")
    assert first.startswith("a-b~")
    assert second.startswith("a-b~")
    assert first != second
    assert len(slug("x" * 500)) < 60
    assert slug("x" * 500) != slug("x" * 501)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=80), st.text(max_size=80))
def test_ids_are_safe_and_distinct(one: str, two: str) -> None:
    for text in (one, two):
        key = slug(text)
        assert key
        assert not set(key) & set("/%\\ \n\t\"'<>&")
        key.encode()
    if clean_key(one) != clean_key(two):
        assert slug(one) != slug(two)


def test_sources_need_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVENHAND_DATA", raising=False)
    with pytest.raises(BadInput, match=r"'xstest' is not shipped .* set EVENHAND_DATA"):
        Sources("xstest")
    monkeypatch.setenv("EVENHAND_DATA", str(tmp_path))
    with pytest.raises(BadInput, match="There is no folder of the public data set"):
        Sources("xstest")


def test_sources_record_checksums(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"abc")
    sources = Sources("set", tmp_path)
    assert sources.file("a.csv") == tmp_path / "a.csv"
    assert sources.used["a.csv"].size == 3
    assert sources.used["a.csv"].checksum == "xxh128:06b05ab6733a618578af5f94892f3950"
    with pytest.raises(BadInput, match=r"b\.csv: The data set 'set' lacks this file"):
        sources.file("b.csv")


def test_every_registered_target_loads() -> None:
    for registry in (DATASETS, CLASSIFIERS, GRADERS):
        for entry in registry:
            assert callable(entry.load()), entry.name


@pytest.mark.data
def test_every_dataset_has_the_shape_of_one(public_data: Callable[[str], Path]) -> None:
    public = ("xstest", "holisticbias", "winoqueer", "tango", "misgendered")
    folders = {"llama2-qos": "llama2_qos", **{name: name for name in public}}
    for entry in DATASETS:
        dataset = open_dataset(entry.name, public_data(folders[entry.name]) if entry.name in folders else None)
        assert isinstance(dataset, Dataset)
        assert dataset.name == entry.name
        assert all(count > 0 for count in dataset.counts().values())
        items = dataset.items()
        assert len({item.id for item in items}) == len(items)
        assert not any("%" in item.id for item in items)
        assert dataset.reference_group in {"", *(item.group for item in items)}
