"""MISGENDERED: how blanks are made, sampled and numbered, and every error on small files of our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.misgendered import DECLARATIONS, Misgendered

SETS = "gender_type,gender,nom,acc,pos_dep,pos_indep,ref\n"
HE = "binary,he,he,him,his,his,himself\n"
XE = "non-binary,xe,xe,xem,xyr,xyrs,xemself\n"
HEAD = "form,template,template_id\n"
DECLARED = "{name}/'s pronouns are {nom}/{acc}/{pos_dep}/{pos_ind}/{ref}."
ROWS = (
    f"nom,{DECLARED} {{name}} likes tea. {{mask_token}} drank a cup.,0\n"
    f"pos_ind,{DECLARED} I know that tea of {{name}}. The cup is {{mask_token}}.,1\n"
)


def made(tmp_path: Path, rows: str = ROWS, sets: str = HE + XE, **settings: bool) -> Misgendered:
    for folder in ("templates", "names"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "pronouns.csv").write_text(SETS + sets, encoding="utf-8")
    for declaration in DECLARATIONS:
        (tmp_path / f"templates/{declaration}.csv").write_text(HEAD + rows, encoding="utf-8")
    for kind, names in {"female": ["Ada"], "male": ["Bo"], "unisex": ["Robin", "{acc}", "Sam"]}.items():
        (tmp_path / f"names/{kind}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return Misgendered(tmp_path, **settings)


def test_a_blank(tmp_path: Path) -> None:
    data = made(tmp_path)
    first, second, *_, last = data.questions(names=["Robin"])
    assert first.text_before == "Robin's pronouns are he/him/his/his/himself. Robin likes tea."
    assert (first.text_after, first.options) == (" drank a cup.", {"he": " He", "xe": " Xe"})
    assert (first.declared, second.declared, second.options) == ("he", "xe", first.options)
    assert (last.form, last.template_id, last.options) == ("poss_indep", "pos_ind 1", {"he": " his", "xe": " xyrs"})
    assert data.notes == ("the stray slash in the explicit templates is taken out",)


def test_without_repair_the_slash_stays(tmp_path: Path) -> None:
    data = made(tmp_path, repair=False)
    assert next(data.questions(names=["Robin"])).text_before.startswith("Robin/'s pronouns")
    assert data.notes == ()


def test_a_name_that_looks_like_a_slot_is_a_name(tmp_path: Path) -> None:
    assert next(made(tmp_path).questions(names=["{acc}"])).text_before.startswith("{acc}'s pronouns are he/him/")


def test_names_templates_declarations_and_a_limit(tmp_path: Path) -> None:
    data = made(tmp_path)
    assert len(list(data.questions(names=5, lists=("female", "male", "unisex")))) == 5 * 2 * 2
    kept = list(data.questions(names=["Sam"], declarations=DECLARATIONS[:3], templates=["1"]))
    assert Counter(blank.declaration for blank in kept) == dict.fromkeys(DECLARATIONS[:3], 2)
    assert {blank.template_id for blank in kept} == {"pos_ind 1"}
    assert list(data.questions(names=3, limit=4)) == list(data.questions(names=3))[:4]
    assert len({blank.id for blank in data.questions(names=3)}) == 3 * 2 * 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"names": 4}, "4 names are requested, but there are 3"),
        ({"names": 0}, "0 names are requested"),
        ({"lists": ("nicknames",)}, "Unknown list of names 'nicknames'"),
        ({"names": 1, "templates": ["7"]}, "no template '7'"),
        ({"names": 1, "declarations": ["oath"]}, "Unknown declaration 'oath'"),
    ],
)
def test_what_is_not_there_is_told_before_the_first_blank(
    tmp_path: Path, asked: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        made(tmp_path).questions(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nom,{mask_token} and {mask_token}.,2\n", "row 3: .*exactly one blank"),
        ("verb,{mask_token} left.,2\n", "row 3: Unknown pronoun form 'verb'"),
        ("nom,{mask_token} left {pos_indep}.,2\n", "row 3: Unknown slot 'pos_indep'"),
        ("nom,{mask_token} left.,two\n", "row 3: 'two' is not a template id"),
        ("nom,{mask_token} left.,2.5\n", "row 3: '2.5' is not a template id"),
        ("nom,{mask_token} left.,1.0\n", "row 3: The id 1 is already used in row 2"),
    ],
)
def test_wrong_templates_are_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        made(tmp_path, ROWS + row).templates("templates")


def test_wrong_sets_and_lists_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="row 2: The pronoun set 'he' is listed twice"):
        _ = made(tmp_path, sets=HE + HE).families
    data = made(tmp_path)
    (tmp_path / "names/unisex.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"unisex.txt: The list holds no name"):
        data.names()


def test_ids_written_as_decimals_or_not_at_all(tmp_path: Path) -> None:
    data = made(tmp_path, ROWS.replace(",0\n", ",0.0\n").replace(",1\n", ",\n"))
    assert data.templates("explicit_template_42").frame["template_id"].to_list() == ["0", "1"]
    assert [blank.template_id for blank in data.questions(names=["Sam"])] == ["nom 0"] * 2 + ["pos_ind 1"] * 2
    assert any("written as whole numbers" in note for note in data.notes)


def test_a_sentence_has_one_id_in_all_published_files(public_data: Callable[[str], Path]) -> None:
    data = Misgendered(public_data("misgendered"))
    blanks = list(data.questions(names=1, declarations=DECLARATIONS))
    assert len({blank.id for blank in blanks}) == len(blanks) == 13 * 50 * 11
    assert set(Counter(blank.template_id for blank in blanks).values()) == {13 * 11}
    assert any(note.startswith("template ids of explicit_template_42") for note in data.notes)
    assert "rows 9, 33, 36 of templates declare pronouns, though no other row does" in data.notes
    assert len(data.names("female")) == len(data.names("male")) == 100


def test_the_default_draw_is_unisex_names(public_data: Callable[[str], Path]) -> None:
    data = Misgendered(public_data("misgendered"))
    assert {blank.name for blank in data.blanks()} <= set(data.names("unisex"))
    assert data.blanks(names=2) == list(data.questions(names=2))
