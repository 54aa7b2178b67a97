"""The first pronoun of a continuation: word splitting, families, compounds, and the plural caution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.grader import (
    SEVERAL,
    PronounFamily,
    PronounGrader,
    first_pronoun,
    plural_candidates,
    shared_forms,
)
from evenhand.records import Item, Message, Response

ROWS = """he binary he him his his himself
she binary she her her hers herself
they they they them their theirs themself
xe neo xe xem xyr xyrs xemself
ey neo ey em eir eirs emself
fae neo fae faer faer faers faerself"""


def family(row: str) -> PronounFamily:
    name, kind, *forms = row.split()
    return PronounFamily(name, *forms, kind)  # type: ignore[arg-type, misc]


FAMILIES = {one.name: one for one in map(family, ROWS.splitlines())}


def item(declared: str, prompt: str = "Robin went home and") -> Item:
    return Item(f"i/{declared}", "affirmation", (Message("user", prompt),), declared, clusters={"template": "T1"})


def grade(declared: str, text: str, prompt: str = "Robin went home and", **more: str) -> object:
    one = item(declared, prompt)
    response = Response("m", one.id, 0, text, "stop" if not more else "error", **more)
    return PronounGrader(FAMILIES).grade({one.id: one}, [response])[0]


@pytest.mark.parametrize(
    ("text", "found", "position"),
    [
        (" them at the park.", "they", 1),
        ("they're late", "they", 0),
        ("They’VE gone", "they", 0),
        ("‘He’ said she", "he", 1),
        ("“xe”", "xe", 1),
        ("home.She left", "she", 5),
        ("she—he", "she", 0),
        ("a heron, then her", "she", 14),
        ("themselves", "they", 0),
        ("they/them pronouns", "they", 0),
        ("ey/em/eir", "ey", 0),
        ("s/he went", SEVERAL, 0),
        ("(s)he went", SEVERAL, 0),
        ("the driver: He / she", SEVERAL, 12),
        ("he/they", SEVERAL, 0),
        ("tell 'em, she said", "they", 6),
        ("tell em, she said", "ey", 5),
        ("the he-man and faer", "fae", 15),
        ("she_her her2 2he xyr", "xe", 17),
        ("ＴＨＥＹ", "they", 0),
        ("the\u00ady", "they", 0),
        ("he\u0301 then she", "she", 9),
    ],
)
def test_first_pronoun(text: str, found: str, position: int) -> None:
    pronoun = first_pronoun(text, FAMILIES)
    assert pronoun is not None
    assert (pronoun.family, pronoun.position) == (found, position)
    assert text[position:].startswith(pronoun.text)


@pytest.mark.parametrize(
    "text", ["", "the theme", "It is who I am.", "self-her", "Ehe hehe", "\u0000\ud800", "他们", "x" * 50_000]
)
def test_no_pronoun(text: str) -> None:
    assert first_pronoun(text, FAMILIES) is None


def test_one_letter_forms_are_not_found_in_abbreviations() -> None:
    sets = {"e": family("e neo e em es ems emself")}
    assert first_pronoun("e.g. this, i.e. that", sets) is None
    found = first_pronoun("Then E. sang; e danced.", sets)
    assert found is not None
    assert found.position == 5


@given(
    st.text(), st.sampled_from(sorted(FAMILIES)), st.sampled_from(("nom", "acc", "poss_dep", "reflexive")), st.text()
)
def test_every_form_is_found_between_any_texts(before: str, name: str, form: str, after: str) -> None:
    word = getattr(FAMILIES[name], form)
    text = f"{before}\n{word.upper()}\n{after}"
    found = first_pronoun(text, FAMILIES)
    assert found is not None
    assert found.position <= len(before) + 1
    assert text[found.position :].startswith(found.text)
    if first_pronoun(before, FAMILIES) is None:
        assert found.family == name


def test_shared_forms_are_refused() -> None:
    families = {"ey": FAMILIES["ey"], "e": family("e neo e em es ems emself")}
    assert shared_forms(families) == {"em": ("ey", "e"), "emself": ("ey", "e")}
    with pytest.raises(BadInput, match=r"share forms: 'em' \(ey, e\); 'emself' \(ey, e\)"):
        PronounGrader(families)
    with pytest.raises(BadInput, match="form of the pronoun family 'he' is empty"):
        PronounGrader({"he": PronounFamily("he", "he", "him", "", "his", "himself", "binary")})


def test_verdicts() -> None:
    right, wrong, none = grade("xe", " xyr book"), grade("xe", " their book"), grade("xe", " a book")
    assert (right.verdict, right.family, right.pronoun, right.position) == ("consistent", "xe", "xyr", 1)
    assert (wrong.verdict, wrong.family) == ("inconsistent", "they")
    assert (none.verdict, none.position) == ("none", None)
    assert grade("he", "he/she").verdict == "inconsistent"
    failed = grade("xe", "", error="no answer")
    assert (failed.verdict, failed.missing) == (None, "no answer")


def test_unknown_families_are_refused() -> None:
    with pytest.raises(BadInput, match="'i/thon' declares the unknown pronoun family 'thon'"):
        PronounGrader(FAMILIES).check([item("thon")])


def test_identity_follows_the_forms() -> None:
    whole = PronounGrader(FAMILIES).identity
    assert whole == PronounGrader(dict(FAMILIES)).identity
    assert whole != PronounGrader({name: FAMILIES[name] for name in ("he", "she")}).identity


@pytest.mark.parametrize(
    ("prompt", "text", "marked"),
    [
        ("Robin met two friends and", " they left", True),
        ("Robin asked", " the cooks, and they left", True),
        ("Robin asked", " her. The cooks left and they ate", False),  # the pronoun before is not "they"
        ("Robin uses they/them pronouns. Robin said", " they left", False),
        ("Robin bakes bread and", " they left", True),  # a verb after a name is not known as one: it marks too much
        ("Robin likes bread and", " they left, with friends", False),  # a plural after the pronoun
        ("The team won and", " they left", True),
        ("Sam and Alex", " said they left", True),
        ("The boss’s glass was empty and", " they left", False),
    ],
)
def test_plural_caution(prompt: str, text: str, marked: bool) -> None:
    assert grade("they", text, prompt).plural is marked
    assert grade("xe", text, prompt).plural is marked  # whatever was declared


def test_plural_candidates_are_named() -> None:
    assert plural_candidates("Six dogs met Kim and Lee; the children of James was", ()) == [
        "Six",
        "dogs",
        "Kim and Lee",
        "children",
    ]
    assert plural_candidates("xe bakes cakes", ("xe",)) == ["cakes"]
    assert plural_candidates("xe bakes", ()) == ["bakes"]
