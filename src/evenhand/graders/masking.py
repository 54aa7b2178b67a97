"""Hide a name from a judge: whole words only, possessives kept, in NFC and with or without diacritics.

A name may also be a word (Hang, Will, Grace) or a piece of one (Li in Lithium). So only whole words are replaced, and
the lower-case form is left alone where it is an ordinary English word or has two letters or fewer.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

PLACEHOLDER = "Alex"

_ORDINARY_WORDS = """
    april art august basil bay bill bob brook buck carol chance chase chip christian chuck clay cliff cole
    crystal daisy dale dawn dean destiny don drew duke earl ed eve faith fern forest frank gale gay gene ginger
    glen grace grant guy hang harmony harry hazel heath heather holly hope hunter iris ivy jack jade jasmine jay
    jean jewel jimmy josh joy june king lance laurel lee lily long louis man mark mason max may mercy miles
    miller misty nan nick norm olive pansy pat patience pearl penny peter pierce poppy prince queen rainbow
    randy ray reed rich river rob robin rock rose rowan ruby rusty sage sandy sherry sky stone storm sue summer
    sunny taylor terry tom tony tucker victor viola violet wade wang ward warren wayne will willow winter woody
    young
"""
_ORDINARY = frozenset(_ORDINARY_WORDS.split())
_APOSTROPHES = "'’ʼ＇"
_MARKS = "\u0300-\u036f"


def mask_name(text: str, name: str, placeholder: str = PLACEHOLDER) -> str:
    """``text`` in NFC with every mention of ``name`` replaced by ``placeholder`` (James' becomes Alex's).

    For a noun phrase (``a Muslim man``) the phrase with any article goes, whatever its case: ``the Muslim man``,
    ``A Muslim man``. The article goes along; the possessive stays.
    """
    return replace_name(text, name, placeholder)


def replace_name(text: str, name: str, other: str) -> str:
    """``text`` in NFC with ``other`` for ``name``, on whole words; a phrase keeps a capital where it had one."""
    text = unicodedata.normalize("NFC", text)
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name:
        return text
    pattern = _pattern(name)

    def put(match: re.Match[str]) -> str:
        owner = match["owner"] or ""
        found = match["name"]
        replacement = other
        if " " in other and found[:1].isupper() and _opens_sentence(text, match.start()):
            replacement = other[:1].upper() + other[1:]
        return replacement + ("'s" if owner else "")

    return pattern.sub(put, text)


def _opens_sentence(text: str, position: int) -> bool:
    before = text[max(0, position - 8) : position].rstrip(" \t\"'“‘")
    return not before or before[-1] in ".!?\n"


@lru_cache(maxsize=4096)
def _pattern(name: str) -> re.Pattern[str]:
    forms = {name, _without_marks(name)}
    article, _, rest = name.partition(" ")
    phrase = rest != "" and article.casefold() in ("a", "an", "the")
    if phrase:
        body = r"(?i:(?:an?|the|this|that)\s+" + r"\s+".join(map(_escape, rest.split())) + ")"
    else:
        for form in tuple(forms):
            forms |= {form.title() if form.islower() else form}
            if len(form) > 2:
                forms.add(form.upper())
                if form.casefold() not in _ORDINARY:
                    forms.add(form.lower())
        longest_first = sorted(forms, key=lambda f: (-len(f), f))
        body = "|".join(r"\s+".join(map(_escape, form.split())) for form in longest_first)
    # Not inside a word, not after an apostrophe or hyphen that belongs to a word, not before a hyphened second name.
    return re.compile(
        rf"(?<![\w{_MARKS}])(?<![\w{_MARKS}][{_APOSTROPHES}\-])(?P<name>{body})(?![\w{_MARKS}])(?!-[^\W\d_a-z])"
        rf"(?P<owner>[{_APOSTROPHES}]s(?!\w)"
        + (rf"|(?<=s)[{_APOSTROPHES}](?=\s+\w)" if name.casefold().endswith("s") else "")
        + ")?"
    )


def _escape(word: str) -> str:
    """A word as a pattern; any form of apostrophe matches any other."""
    return "".join(f"[{_APOSTROPHES}]" if c in _APOSTROPHES else re.escape(c) for c in word)


def _without_marks(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", plain)
