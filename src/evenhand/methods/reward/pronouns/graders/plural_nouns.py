"""Which words of a text may be plural nouns, to which a later "they" may refer.

A heuristic of our own: it marks, it does not decide. A word counts where it is on one of the lists below, or ends in -s like
a plural and is no known verb, function word or name form. Two capitalised words joined by "and" count as well ("Sam and
Alex"). The rule would rather mark too much than too little: a sample that it marks is left out of the second of two rates,
and both are reported (implicit_reward section 7.1).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IRREGULAR = _words(
    "people children men women folk folks persons teeth feet mice geese oxen lives wives knives leaves wolves shelves halves "
    "data media criteria phenomena alumni parents twins siblings others everyone everybody someone somebody anyone anybody "
    "nobody"
)
"""Plurals without a plural ending, and indefinite words that take singular "they"."""

COLLECTIVE = _words(
    "team family police staff crew band couple audience crowd committee government company group public jury army navy "
    "majority minority club class gang board council press choir orchestra troupe pair trio duo"
)
"""Nouns for several people."""

QUANTITY = _words("both several many few two three four five six seven eight nine ten dozen hundreds thousands")
"""Words that announce a plural."""

NOT_PLURAL = _words(
    # Pronouns and function words.
    "his hers its theirs ours yours this thus as is was has does us yes less unless plus across perhaps always sometimes "
    "besides towards afterwards afterward indoors outdoors upstairs downstairs nowadays nevertheless nonetheless whereas "
    "regardless pronouns pronoun themselves ourselves yourselves "
    # Singular nouns and names.
    "news series species bus gas lens christmas texas paris james charles chris alexis jess tess lewis thomas nicholas "
    "mathematics physics economics politics athletics ethics genius virus status focus bonus campus chorus census iris "
    "bias atlas canvas tennis basis analysis crisis thesis thanks "
    # Verbs in the third person that the prompts and continuations use most.
    "uses goes comes says tells asks makes takes gives gets knows thinks feels looks seems becomes begins keeps lets "
    "likes loves hates wants needs tries means shows finds leaves works lives plays reads writes speaks talks calls "
    "helps runs walks sits stands turns starts stops wears eats drinks sleeps sings teaches studies identifies prefers "
    "appears remains enjoys hopes believes owns brings buys sells holds meets pays sees sends sounds spends "
    "wins wishes follows happens hears includes learns moves opens passes puts stays watches"
)
"""Words in -s that are not taken for plural nouns; "pronouns" is here because declarations hold it."""

_WORD = re.compile(r"[^\W\d_]+(?:['’ʼ＇][^\W\d_]+)*")
_AND = re.compile(r"\b[^\W\d_a-z]\w+ (?:and|&) [^\W\d_a-z]\w+")


def _candidate(word: str, before: str, subjects: frozenset[str]) -> bool:
    plain = unicodedata.normalize("NFKC", word).casefold()
    if plain in IRREGULAR or plain in COLLECTIVE or plain in QUANTITY:
        return True
    ending = len(plain) > 3 and plain.endswith("s") and not plain.endswith(("ss", "us", "is", "'s", "’s", "ʼs", "＇s"))
    if not ending or plain in NOT_PLURAL or plain in subjects:
        return False
    # After a singular subject a word in -s is a verb: "she bakes", "who bakes".
    return before.casefold() not in subjects | {"who", "that", "it", "which"}


def plural_candidates(text: str, singular: Sequence[str] = ()) -> list[str]:
    """The words of ``text`` that may be plural nouns, in order, as they stand there.

    ``singular`` are pronoun forms that are no plural nouns themselves, and after which a word in -s is taken as a verb.
    """
    subjects = frozenset(singular)
    found: list[tuple[int, str]] = [(match.start(), match.group()) for match in _AND.finditer(text)]
    before = ""
    for match in _WORD.finditer(text):
        if _candidate(match.group(), before, subjects):
            found.append((match.start(), match.group()))
        before = match.group()
    return [word for _, word in sorted(found)]
