"""Words for identities and pronouns, and their mentions in a text: whole words only, in any case, with plurals.

The shipped list is ours and describes people in respectful terms; it is not a census of identities, and a list from the
people concerned is better (``--terms FILE``). It is English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from evenhand.datasets.shipped import shipped_table
from evenhand.datasets.table import as_table, resolve
from evenhand.graders.normalise import clean_text

TERMS = Path(__file__).parents[3] / "datasets" / "shipped" / "identity_terms.csv"

# What may be unclear about a word: its meaning (also a colour), whether it is a name, how many people it denotes, which
# family of pronouns it belongs to, or only its role in the sentence. "case": it counts in this very spelling alone.
AMBIGUITIES = ("", "case", "meaning", "name", "number", "family", "role")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Identities of the shipped list that are counted as transgender, nonbinary or otherwise gender-diverse.
GENDER_DIVERSE = frozenset({"transgender women", "transgender men"}) | {
    f"{name} people"
    for name in _words(
        """
        transgender nonbinary genderqueer genderfluid agender bigender demigender pangender neutrois androgynous
        two-spirit third-gender gender-nonconforming gender-diverse gender-questioning
        """
    )
}

# A word for people that makes an adjective in front of it a statement about people.
_PEOPLE = _words(
    """
    people person persons man men woman women boy boys girl girls child children kid kids adult adults folk folks
    individual individuals community communities couple couples student students worker workers employee employees
    patient patients friend friends colleague colleagues guy guys lady ladies teenager teenagers teen teens youth
    male males female females citizen citizens parent parents mother mothers father fathers neighbor neighbors
    neighbour neighbours american americans
    """
)
_FUNCTION = _words(
    """
    a an and are as at be been but by can could did do does for from had has have if in is may might must nor of on or
    shall should so than that the to was were when where which who whom whose will with would
    """
)
_MARKS = str.maketrans(
    {**dict.fromkeys("‐‑‒–−﹣－", "-"), **dict.fromkeys("’‘ʼ＇′`´", "'"), **dict.fromkeys("\u00ad\u200c\u200d\u2060")}
)
_TOKEN = re.compile(r"[^\W_]+")
_JOINS = {" ": re.compile(r"\s+|\s?-\s?"), "-": re.compile(r"\s+|\s?-\s?"), "/": re.compile(r"\s?/\s?")}
_INNER = r"(?:(?!(?:and|at|by|for|from|in|not|of|on|than|to|who|with)\b)[\w'-]+\s+){0,2}"
_SPEAKER = re.compile(
    rf"(?:\bI\s+am|\bI'm|\bI\s+identify\s+as|\bI\s+came\s+out\s+as)\s+"
    rf"(?:(?:an?|the)\s+{_INNER}|(?:(?:also|both|openly|proudly|really|very)\s+)?)$",
    re.IGNORECASE,
)
_DECLARED = re.compile(r"\b(?:my\s+pronouns\s+are|my\s+pronouns:|I\s+use)\s+(?:the\s+)?$", re.IGNORECASE)
_AS_A = re.compile(rf"\bas\s+an?\s+{_INNER}$", re.IGNORECASE)
_FIRST_PERSON = re.compile(r"\bI\b|\bI'|\bmy\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase: the identity or family of pronouns it names, its axis, its role, and what is unclear about it.

    ``role`` is subject, object, possessive, possessive pronoun, reflexive or declared for pronouns, and noun, adjective
    or either for other words; ``ambiguous`` is one of `AMBIGUITIES`.
    """

    term: str
    identity: str
    axis: str
    role: str
    ambiguous: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Mention:
    """A term in a text. ``start`` and ``end`` are positions in ``searchable(text)``; ``role`` is settled if it can be.

    ``ambiguous`` is what stays unclear in this place; ``disclosed``: the speaker says it of themself ("I am ...").
    """

    term: Term
    start: int
    end: int
    role: str
    ambiguous: str
    disclosed: bool

    @property
    def clear(self) -> bool:
        """Whether the word surely names the identity; an unclear role alone does no harm."""
        return self.ambiguous in ("", "role")


@dataclass(frozen=True, slots=True)
class _Form:
    words: tuple[str, ...]
    gaps: tuple[str, ...]
    term: Term
    plural: bool


@dataclass(frozen=True)
class TermList:
    """Terms with their origin (a file, as errors name it) and its checksum; ``mentions`` looks them up in a text."""

    terms: tuple[Term, ...]
    origin: str
    checksum: str
    _forms: dict[str, tuple[_Form, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        table: dict[str, list[_Form]] = {}
        for term in self.terms:
            for form in _forms(term):
                table.setdefault(form.words[0], []).append(form)
        longest = {first: tuple(sorted(forms, key=lambda f: -len(f.words))) for first, forms in table.items()}
        object.__setattr__(self, "_forms", longest)

    def identities(self) -> dict[str, tuple[str, ...]]:
        """Axis to its identities, in the order of the list."""
        by_axis: dict[str, dict[str, None]] = {}
        for term in self.terms:
            by_axis.setdefault(term.axis, {})[term.identity] = None
        return {axis: tuple(names) for axis, names in by_axis.items()}

    def mentions(self, text: str) -> list[Mention]:
        """Every mention in ``text``, in order of place; on one axis the longest phrase at a place counts alone.

        So "trans women" is no mention of women, while "Black women" is one of an ethnicity and one of a gender.
        Linear in the length of the text.
        """
        text = searchable(text)
        tokens = [(match.group().casefold(), match.start(), match.end()) for match in _TOKEN.finditer(text)]
        free: dict[str, int] = {}
        mentions = []
        for i, (word, start, _) in enumerate(tokens):
            for form in self._forms.get(word, ()):
                if free.get(form.term.axis, 0) > i or not _fits(form, text, tokens, i):
                    continue
                last = i + len(form.words)
                free[form.term.axis] = last
                after = (
                    tokens[last][0] if last < len(tokens) and text[tokens[last - 1][2] : tokens[last][1]] == " " else ""
                )
                mentions.append(_settled(form, text, start, tokens[last - 1][2], after))
        return mentions


def read_terms(source: Any = None) -> TermList:
    """The shipped terms, or a table with the columns term, identity, axis, role, ambiguous and note.

    The last three may be absent: role "either", nothing ambiguous. Raises BadInput with file and row for an empty term,
    identity or axis, a term without a letter, an unknown ambiguity, and two terms of one axis that
    differ only in case, spaces or hyphens.
    """
    table = shipped_table(TERMS) if source is None else as_table(source)
    roles = resolve(table, None, required=("term", "identity", "axis"), optional=("role", "ambiguous", "note"))
    terms: list[Term] = []
    first: dict[tuple[str, str], int] = {}
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        value = {role: (cells[column] or "").strip() for role, column in roles.items()}
        for role in ("term", "identity", "axis"):
            if not value[role]:
                raise table.error(f"The {role} is empty.", row)
        if not _TOKEN.search(searchable(value["term"])):
            raise table.error("The term has no letter.", row)
        ambiguous = value.get("ambiguous", "")
        if ambiguous not in AMBIGUITIES:
            kinds = ", ".join(filter(None, AMBIGUITIES))
            raise table.error(f"Unknown ambiguity '{ambiguous}'.", row, do=f"Known: {kinds}, or empty.")
        key = (value["axis"], token_key(value["term"]))
        if first.setdefault(key, row) != row:
            raise table.error(
                f"'{value['term']}' differs from row {first[key]} only in case, spaces or hyphens.",
                row,
                do="Write it once, with a hyphen: that matches a space, a hyphen and neither.",
            )
        role = value.get("role") or "either"
        terms.append(Term(value["term"], value["identity"], value["axis"], role, ambiguous, value.get("note", "")))
    return TermList(tuple(terms), table.origin, table.checksum)


def searchable(text: str) -> str:
    """The text that terms are looked up in: NFKC, plain hyphens and apostrophes, without invisible characters."""
    return unicodedata.normalize("NFKC", clean_text(text).translate(_MARKS)).translate(_MARKS)


def token_key(term: str) -> str:
    """A term without case, spaces and hyphens, by which doubles are found."""
    return re.sub(r"[\s-]+", "", searchable(term).casefold())


def _forms(term: Term) -> Iterator[_Form]:
    plain = searchable(term.term)
    spellings = {plain: False, plain.replace("-", ""): False}
    if term.role in ("noun", "either"):
        spellings |= {plural: True for spelling in list(spellings) for plural in _plurals(spelling)}
    for spelling, plural in spellings.items():
        matches = list(_TOKEN.finditer(spelling))
        gaps = tuple(spelling[a.end() : b.start()] for a, b in pairwise(matches))
        yield _Form(tuple(match.group().casefold() for match in matches), gaps, term, plural)


def _plurals(word: str) -> tuple[str, ...]:
    lower = word.lower()
    for singular, plural in (("woman", "women"), ("man", "men"), ("child", "children")):
        if lower == singular or lower.endswith((" " + singular, "-" + singular, "business" + singular)):
            return (word[: -len(singular)] + plural,)
    if lower.endswith("person"):
        return (word[:-6] + "people", word + "s")
    if lower.endswith(("s", "x", "ch", "sh")):
        return (word + "es",)
    return (word[:-1] + "ies",) if re.search(r"[^aeiou]y$", lower) else (word + "s",)


def _fits(form: _Form, text: str, tokens: list[tuple[str, int, int]], i: int) -> bool:
    if i + len(form.words) > len(tokens):
        return False
    for k, word in enumerate(form.words):
        if tokens[i + k][0] != word:
            return False
        if k:
            between, gap = text[tokens[i + k - 1][2] : tokens[i + k][1]], form.gaps[k - 1]
            if between != gap and not (gap in _JOINS and _JOINS[gap].fullmatch(between)):
                return False
    if form.term.ambiguous == "case":
        return text[tokens[i][1] : tokens[i + len(form.words) - 1][2]].startswith(searchable(form.term.term))
    return True


def _settled(form: _Form, text: str, start: int, end: int, after: str) -> Mention:
    before, term = text[max(0, start - 60) : start], form.term
    disclosed = bool(
        _SPEAKER.search(before)
        or (term.axis == "pronoun" and _DECLARED.search(before))
        or (_AS_A.search(before) and _FIRST_PERSON.search(text[end : end + 60]))
    )
    disclosed = disclosed and (term.axis != "pronoun" or term.role == "declared")
    role = _role(form, before, after)
    ambiguous = "" if term.ambiguous == "case" else term.ambiguous
    person = disclosed or (not form.plural and after in _PEOPLE)
    if (ambiguous in ("meaning", "name") and person) or (
        ambiguous == "name" and (form.plural or not text[start].isupper())
    ):
        ambiguous = ""
    return Mention(term, start, end, role, ambiguous, disclosed)


def _role(form: _Form, before: str, after: str) -> str:
    """The role of a word that is noun or adjective, if its neighbours decide it."""
    if form.term.role != "either":
        return form.term.role
    if form.plural:
        return "noun"
    if after in _PEOPLE:
        return "adjective"
    if after and after not in _FUNCTION:
        return "noun or adjective"
    return "noun" if re.search(r"\b(?:an?|the)\s+$", before, re.IGNORECASE) else "adjective"
