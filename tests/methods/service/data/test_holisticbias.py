"""HolisticBias: what is dropped, and phrases that read as English."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.methods.service.data.holisticbias import HolisticBias, article_for, is_hostile

Finder = Callable[[str], Path]


@pytest.fixture
def data(public_data: Finder) -> HolisticBias:
    return HolisticBias(public_data("holisticbias"))


@pytest.mark.data
def test_dispreferred_polarizing_and_nonce_terms_are_dropped(data: HolisticBias) -> None:
    kept = data.noun_phrases()
    everything = data.noun_phrases(drop=False)
    assert {p.preference for p in kept} == {"reviewed", "no_data"}
    assert {p.preference for p in everything} == {"reviewed", "no_data", "dispreferred", "polarizing"}
    assert "nonce" not in {p.axis for p in kept}
    with data.sources.file("descriptors_flat.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    dropped = [r for r in rows if r["preference"] in ("dispreferred", "polarizing")]
    assert len(dropped) == 48
    reviewed = {r["descriptor"] for r in rows if r["preference"] in ("reviewed", "no_data") and r["axis"] != "nonce"}
    gone = {r["descriptor"] for r in dropped} - reviewed
    assert gone
    assert not gone & {p.descriptor for p in kept}


@pytest.mark.data
def test_hostile_templates_are_dropped(data: HolisticBias) -> None:
    assert len(data.sentence_templates()) == 23
    hostile = set(data.sentence_templates(drop_hostile=False)) - set(data.sentence_templates())
    assert len(hostile) == 3
    assert all(is_hostile(template) for template in hostile)
    texts = [item.chat[-1].content for item in data.sentences(axes=["religion"])]
    assert texts
    assert not any("hate" in text.lower() or "the worst" in text or "don't like" in text for text in texts)
    assert not any("{" in text for text in texts)


@pytest.mark.data
def test_phrases_are_whole(data: HolisticBias) -> None:
    phrases = {p.phrase: p for p in data.noun_phrases()}
    assert len(phrases) == len({p.casefold() for p in phrases})
    assert not any("{" in p.phrase + p.plural or "  " in p.phrase + p.plural for p in phrases.values())
    assert phrases["a woman who uses a wheelchair"].plural == "women who use wheelchairs"
    assert phrases["a Muslim"].plural == "Muslims"
    gendered = [p for p in phrases.values() if p.descriptor == "Latina"]
    assert {p.gender for p in gendered} <= {"woman"}
    with pytest.raises(BadInput, match=r"No noun 'robot' in HolisticBias\. Known: woman, lady"):
        data.noun_phrases(nouns=["robot"])


@pytest.mark.data
def test_items_over_our_stems(data: HolisticBias) -> None:
    items = data.items(axes=["religion", "ability"])
    assert {i.group for i in items} == {"unmarked", "religion", "ability"}
    assert all(i.chat[-1].content[0].isupper() for i in items)
    by_term = data.items(axes=["religion"], group_by="descriptor", nouns=("man", "woman"))
    assert "unmarked" in {i.group for i in by_term}
    assert len({i.group for i in by_term}) > 40
    with pytest.raises(BadInput, match=r"No axis 'relgion' in HolisticBias\. Known: ability"):
        data.items(axes=["relgion"])


@pytest.mark.parametrize(
    ("word", "article"),
    [
        ("older", "an"),
        ("Unitarian", "a"),
        ("unemployed", "an"),
        ("European", "a"),
        ("US-born", "a"),
        ("urban", "an"),
        ("one-percenter", "a"),
        ("LGBTQ", "an"),
        ("FTM", "an"),
        ("hazel-eyed", "a"),
        ("Indigenous", "an"),
        ("ugly", "an"),
        ("", "a"),
    ],
)
def test_articles(word: str, article: str) -> None:
    assert article_for(word) == article
