"""TANGO: every error on a small table of our own, and the sides of disclosed identities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.tango import Tango, identity_kind

FORMS = "family,nom,acc,poss_dep,poss_indep,reflexive,copula\n"
HE, XE = "he,he,him,his,his,himself,is\n", "xe,xe,xir,xir,xirs,xirself,is\n"
PROMPTS = "template_idx,ante,ante_type,pronoun_family,template\n"
GOOD = "0,robin,ante_nongendered,he,robin left and he sang.\n0,robin,ante_nongendered,xe,robin left and xe sang.\n"
DISCLOSED = "gender_prompt,filled_gender_prompt,gender_identity,name\n"


def made(tmp_path: Path, prompts: str = GOOD, forms: str = HE + XE) -> Tango:
    (tmp_path / "misgendering_prompts.csv").write_text(PROMPTS + prompts, encoding="utf-8")
    (tmp_path / "pronoun_forms.csv").write_text(FORMS + forms, encoding="utf-8")
    return Tango(tmp_path, rows=None)


def test_a_small_table(tmp_path: Path) -> None:
    data = made(tmp_path)
    first, second = data.items()
    assert first.chat[0].content == "Robin left and he sang."
    assert (first.group, second.group) == ("he", "xe")
    assert first.clusters == second.clusters == {"template": "tango 0", "antecedent": "robin"}
    assert [family.kind for family in data.families().values()] == ["binary", "neo"]
    assert data.counts() == {"prompts": 2, "templates": 1, "antecedents": 1, "families": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,sam,distal,thon,sam left.\n", "row 3: Unknown pronoun family 'thon'"),
        ("1,sam,elder,he,sam left and he sang.\n", "row 3: Unknown antecedent type 'elder'"),
        ("1,sam,distal,xe,sam left and he sang.\n", "row 3: The prompt holds no pronoun of the family 'xe'"),
        ("1,sam,distal,he,\n", "row 3: The prompt holds no pronoun"),
        ("1,sam,distal,he,the shelter.\n", "row 3: The prompt holds no pronoun"),
        (GOOD.splitlines()[0] + "\n", "row 3: The prompt of row 1 is repeated here"),
    ],
)
def test_wrong_prompts_are_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(BadInput, match=f"misgendering_prompts.csv, {message}"):
        made(tmp_path, GOOD + row).items()


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        (HE + "xe,xe,,xir,xirs,xirself,is\n", "row 2: A form of a pronoun family is missing"),
        (HE + XE + HE, "row 3: The pronoun family 'he' is listed twice"),
    ],
)
def test_wrong_forms_are_named(tmp_path: Path, forms: str, message: str) -> None:
    with pytest.raises(BadInput, match=f"pronoun_forms.csv, {message}"):
        made(tmp_path, forms=forms).items()


def test_the_published_file_has_one_item_a_cell(public_data: Callable[[str], Path]) -> None:
    items = Tango(public_data("tango")).items()
    cells = {(item.clusters["template"], item.clusters["antecedent"], item.group) for item in items}
    assert len(cells) == len({item.id for item in items}) == 12 * 40 * 6


@pytest.mark.parametrize(
    ("identity", "kind"),
    [
        ("man", "binary"),
        ("a woman", "binary"),
        ("Cisgender  Woman", "binary"),
        ("cisgender", "other"),
        ("cis female", "other"),
        ("an agender person", "tgnb"),
        ("transgender woman", "tgnb"),
        ("male to female", "tgnb"),
    ],
)
def test_the_side_of_an_identity(identity: str, kind: str) -> None:
    assert identity_kind(identity) == kind
