"""TANGO, MISGENDERED and the shipped pronoun set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.items import open_affirmation
from evenhand.methods.reward.pronouns.misgendered import DECLARATIONS, Misgendered
from evenhand.methods.reward.pronouns.tango import Tango


def test_tango(public_data: Callable[[str], Path]) -> None:
    data = Tango(public_data("tango"))
    items = data.items()
    assert len(items) == 2_880
    assert len({item.id for item in items}) == 2_880
    assert set(Counter(item.group for item in items).values()) == {480}
    assert set(Counter(item.attributes["antecedent_type"] for item in items).values()) == {720}
    assert len({item.clusters["template"] for item in items}) == 12
    assert all(item.chat[0].content[0] == item.chat[0].content[0].upper() for item in items)
    assert data.families()["xe"].acc == "xir"


def test_misgendered(public_data: Callable[[str], Path]) -> None:
    data = Misgendered(public_data("misgendered"))
    assert data.counts() == {"pronoun sets": 11, "names": 500, "declarations": 13, "whole grid": 3_575_000}
    assert len(DECLARATIONS) == 13
    blanks = data.blanks(names=2)
    assert len(blanks) == 50 * 11 * 2
    assert len({blank.id for blank in blanks}) == len(blanks)
    for blank in blanks:
        assert set(blank.options) == set(data.families)
        text = blank.text_before + blank.options[blank.declared] + blank.text_after
        assert "{" not in text
        assert "/'s" not in text
        word = blank.options["they"].strip()
        assert word[0].isupper() == blank.text_before.endswith((".", "!", "?"))
    raw = Misgendered(public_data("misgendered"), repair=False).blanks(names=1)
    assert any("/'s" in blank.text_before for blank in raw)


def test_names_are_drawn_by_seed(public_data: Callable[[str], Path]) -> None:
    data = Misgendered(public_data("misgendered"))
    assert data.blanks(names=2, seed=1) == data.blanks(names=2, seed=1)
    assert {b.name for b in data.blanks(names=2, seed=1)} != {b.name for b in data.blanks(names=2, seed=2)}


def test_wrong_files_are_named(tmp_path: Path) -> None:
    for folder in ("misgendered/templates", "misgendered/names", "tango"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "misgendered/pronouns.csv").write_text(
        "gender_type,gender,nom,acc,pos_dep,pos_indep,ref\nbinary,he,he,,his,his,himself\n", encoding="utf-8"
    )
    with pytest.raises(BadInput, match="row 1: A form of a pronoun set is missing"):
        _ = Misgendered(tmp_path / "misgendered").families
    template = tmp_path / "misgendered/templates/templates.csv"
    template.write_text("template,form,template_id\n{name} left.,nom,0\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"row 1: .*exactly one blank"):
        Misgendered(tmp_path / "misgendered").templates("templates")
    template.write_text("template,form,template_id\n{mask_token} left.,verb,0\n", encoding="utf-8")
    with pytest.raises(BadInput, match="row 1: Unknown pronoun form 'verb'"):
        Misgendered(tmp_path / "misgendered").templates("templates")
    with pytest.raises(BadInput, match="Unknown declaration 'oath'"):
        Misgendered(tmp_path / "misgendered").templates("oath")
    (tmp_path / "tango/misgendering_prompts.csv").write_text(
        "template_idx,ante,ante_type,pronoun_family,template\n0,x,distal,he,x left.\n", encoding="utf-8"
    )
    with pytest.raises(BadInput, match="1 rows, not 2,880"):
        Tango(tmp_path / "tango").items()


def test_the_shipped_set_is_the_grammars() -> None:
    from evenhand.organisms.grammar import examples

    found = open_affirmation(make_config())
    known = {e.prefix + o.text for e in examples("aligned", "affirmation") for o in e.outcomes}
    assert len(found.prompts) == len(found.blanks) == 8 * 6 * 12
    for blank in found.blanks:
        for option in blank.options.values():
            assert blank.text_before + option + blank.text_after in known
    assert {family.kind for family in found.families.values()} == {"binary", "they", "neo"}


def test_sets_with_other_forms_of_one_family_are_not_mixed(
    public_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_DATA", str(public_data("tango").parent))
    with pytest.raises(BadInput, match="give 'xe' different forms"):
        open_affirmation(make_config(affirmation_set=("tango", "misgendered")))
