"""What a grader sees of a response: clean Unicode, without reasoning blocks, with an echo of the prompt stripped once.

Everything here is linear in the length of the text: a megabyte from a runaway model costs milliseconds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from evenhand.errors import BadInput
from evenhand.graders.base import Gradable
from evenhand.records import Item, Response
from evenhand.safe_text import surrogate_free

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "＇": "'", "′": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"'}
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\u202a-\u202e\u2066-\u2069]")
# Marks that chat templates put around a turn; a role word counts only on a line of its own or before a colon.
_MARK = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:bos|eos|pad)>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|<｜[^｜<>\n]{1,40}｜>"
    r"|#{2,4} ?(?:system|user|human|instruction|input|assistant|response|model) ?:?"
    r"|(?:system|user|human|assistant|model|ai)(?:[ \t]*:|[ \t]*(?=\n|<\|))",
    re.IGNORECASE,
)
_OPEN = re.compile(r"<(think|thinking|thought|reasoning)>", re.IGNORECASE)
_CLOSE = {tag: re.compile(f"</{tag}>", re.IGNORECASE) for tag in ("think", "thinking", "thought", "reasoning")}
_PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}


@dataclass(frozen=True, slots=True)
class Normalised:
    """The text to be graded, the reasoning found in it, and whether an echo was stripped."""

    text: str
    reasoning: str = ""
    echo_stripped: bool = False


def clean_text(text: str) -> str:
    """NFC, line breaks as ``\\n``, lone surrogates as U+FFFD, control and bidirectional characters removed."""
    text = unicodedata.normalize("NFC", surrogate_free(text)).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text)


def fold(text: str) -> str:
    """The form that wordings are matched in: straight quotes, lower case, trimmed (the length may change)."""
    return text.translate(_QUOTES).lower().strip()


def normalise(text: str, item: Item) -> Normalised:
    """Clean a response, strip an echo of the item's chat exactly once, and move reasoning blocks aside."""
    text, echoed = strip_echo(clean_text(text), [message.content for message in item.chat])
    text, reasoning = split_reasoning(text)
    if reasoning and not echoed:
        text, echoed = strip_echo(text, [message.content for message in item.chat])
    return Normalised(text.strip(), reasoning, echoed)


def prepare(rows: Sequence[tuple[Item, Response]], *, expect_echo: bool = False) -> list[tuple[Gradable, Normalised]]:
    """Normalise many responses.

    With ``expect_echo`` every text must start with an echo of its prompt (failed rows, empty texts and provider
    refusals aside): BadInput says how many do not and names the first, since an echo on part of the rows would be
    graded as an answer.
    """
    found: list[tuple[Gradable, Normalised]] = []
    cache: dict[tuple[str, str], Normalised] = {}
    for item, response in rows:
        key = (item.id, response.text)
        if key not in cache:
            cache[key] = normalise(response.text, item)
        found.append((Gradable(item, response, cache[key].text), cache[key]))
    if expect_echo:
        due = [
            (row.response, done.echo_stripped)
            for row, done in found
            if row.response.text.strip() and row.response.finish_reason != "error" and not row.response.provider_refusal
        ]
        without = [response for response, echoed in due if not echoed]
        if without:
            first = without[0]
            raise BadInput(
                f"{len(without)} of {len(due)} responses do not start with an echo of their prompt, though one is "
                f"expected; the first is item {first.item_id}, repetition {first.repetition} of {first.config}.",
                do="Check that each response is in the row of its own prompt, or do not expect an echo.",
            )
    return found


def split_reasoning(text: str) -> tuple[str, str]:
    """The visible text and the reasoning of leading blocks (``<think>``, ``<thinking>``, ``<thought>``,
    ``<reasoning>``).

    An unclosed block is reasoning to the end. A lone closing tag ends a block that the chat template opened. Tags
    further inside an answer are part of it.
    """
    reasoning: list[str] = []
    position = _skip_space(text, 0)
    while (opened := _OPEN.match(text, position)) is not None:
        closed = _CLOSE[opened[1].lower()].search(text, opened.end())
        if closed is None:
            return "", "\n".join([*reasoning, text[opened.end() :].strip()])
        reasoning.append(text[opened.end() : closed.start()].strip())
        position = _skip_space(text, closed.end())
    if reasoning:
        return text[position:].strip(), "\n".join(reasoning)
    closed, opening = _CLOSE["think"].search(text), _OPEN.search(text)
    if closed is not None and (opening is None or opening.start() > closed.start()):
        return text[closed.end() :].strip(), text[: closed.start()].strip()
    return text, ""


def strip_echo(text: str, messages: Sequence[str]) -> tuple[str, bool]:
    """Strip an echo at the start of ``text``: the last message, alone or in the chat as a template renders it.

    Messages are matched in order, each at most once, whatever the white space and the form of the quotes; template
    marks and role words between them go along. Without the last message nothing is stripped. Returns the rest and
    whether something was stripped.
    """
    if not messages or not messages[-1].strip():
        return text, False
    plain = text.translate(_QUOTES)
    position, waiting, done = 0, [clean_text(m).translate(_QUOTES) for m in messages], False
    while True:
        position = _skip_space(plain, position)
        mark = _MARK.match(plain, position)
        if mark is not None:
            position = mark.end()
            continue
        if done:
            break
        for index, message in enumerate(waiting):
            end = _match_message(plain, position, message)
            if end is not None:
                position, done = end, index == len(waiting) - 1
                waiting = waiting[index + 1 :]
                break
        else:
            break
    return (text[position:].strip(), True) if done else (text, False)


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _match_message(text: str, position: int, message: str) -> int | None:
    """Where ``message`` ends in ``text`` if it begins at ``position``, perhaps in quotes or without its final full
    stop.
    """
    words = message.split()
    if not words:
        return None
    quote = ""
    if text[position : position + 1] in _PAIRS and not words[0].startswith(text[position]):
        quote = _PAIRS[text[position]]
        position += 1
    for number, word in enumerate(words):
        last = number == len(words) - 1
        if text.startswith(word, position):
            position += len(word)
        elif last and word[-1] in ".!?" and len(word) > 1 and text.startswith(word[:-1], position):
            position += len(word) - 1
        else:
            return None
        if not last:
            after = _skip_space(text, position)
            if after == position:
                return None
            position = after
    if quote and text.startswith(quote, position):
        position += 1
    following = text[position : position + 1]
    if following.isalnum() and text[position - 1].isalnum():
        return None  # the message ends inside a longer word
    return position
