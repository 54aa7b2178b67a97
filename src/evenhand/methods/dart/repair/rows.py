"""Training rows, their weights by severity, and their token ids: the prompt masked, the target whole, the start token once.

Published: loss on the target only, at most 1,024 tokens with the left of an over-long prompt dropped, and weights 1, 2, 3 and 4 for
minor, moderate, severe and extreme by repeating rows. Chosen: a cut prompt keeps its beginning-of-sequence token, a row is dropped
if its target does not fit, weights go into the loss, and the rules for absent severities, zeros and fractions (docs/dart.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from xxhash import xxh128_hexdigest

from evenhand.engines.base import Span
from evenhand.engines.chat import ChatRenderer
from evenhand.engines.encode import Encoded as EncodedSpan
from evenhand.engines.encode import SpanEncoder
from evenhand.errors import BadInput, EngineError
from evenhand.methods.dart.drift.judge import SEVERITIES
from evenhand.records import Message

MASKED = -100
"""The label of a token that is excluded from the loss."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A chat and the text that the model should answer it with.

    ``weight`` is the row's share in the loss. ``severity`` is that of the drift which a repair row repairs, empty for
    distillation rows and if it is unknown. The same ``id`` may occur in both tasks.
    """

    id: str
    chat: tuple[Message, ...]
    target: str
    weight: float = 1.0
    severity: str = ""
    task: Literal["distil", "repair"] = "distil"


Example = dict[str, Any]
"""One training sequence: ``input_ids``, ``labels`` of the same length (-100 on the prompt), and the row's ``weight``."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as token ids, in order.

    ``dropped`` holds the id of each row that cannot be trained on, and why. ``cut`` rows lost the left of their prompt.
    """

    examples: list[Example]
    dropped: tuple[tuple[str, str], ...]
    cut: int


def deduplicate(rows: Iterable[TrainingRow]) -> tuple[list[TrainingRow], int]:
    """The first of all rows with equal task, id and target, and how many others there were.

    Call this before weights or repetition: the published code does it after, so that every weight becomes 1. The task
    is part of the key, since the objective has a repair and a distillation term for the same case.
    """
    kept: dict[tuple[str, str, str], TrainingRow] = {}
    count = 0
    for row in rows:
        count += 1
        kept.setdefault((row.task, row.id, row.target), row)
    return list(kept.values()), count - len(kept)


def digest_rows(rows: Iterable[TrainingRow]) -> str:
    """xxh128 over every field of every row, in order."""
    return xxh128_hexdigest(json.dumps([asdict(row) for row in rows], sort_keys=True, ensure_ascii=True).encode())


def encode_rows(rows: Sequence[TrainingRow], tokenizer: Any, max_tokens: int = 1024) -> Encoded:
    """Token ids of each row: its chat by the model's template, then the target and the end-of-turn token.

    The target is tokenised apart, as a response is written: after the template's last token. A sequence of more than
    ``max_tokens`` loses tokens of the prompt from the left, its beginning-of-sequence token excepted. A row is dropped, with its
    reason, where prompt or target is empty, the target holds a control token, or target and end-of-turn leave the prompt no
    token. Equal rows are all encoded: repetition is a weight.

    Raises EngineError where the tokenizer has no chat template or no token that ends a turn, or where the template cannot take
    a chat or opens a reasoning block; BadInput for a ``max_tokens`` below 2.
    """
    if max_tokens < 2:
        raise BadInput(f"A training sequence of {max_tokens} tokens has no room for a prompt and a target.")
    name = "the model to train"
    renderer = ChatRenderer(tokenizer, name=name)
    if not renderer.end_of_turn_ids() and tokenizer.eos_token_id is None:
        raise EngineError(f"{name} has no token that ends a turn: it could not learn to stop.")
    empty = [_empty(row) for row in rows]
    spans = [
        Span(str(place), row.target, chat=row.chat, end=True)
        for place, (row, why) in enumerate(zip(rows, empty, strict=True))
        if not why
    ]
    if any(prompt.opens_reasoning for prompt in renderer.prompts([span.chat for span in spans])):
        raise EngineError(
            f"The chat template of {name} opens a reasoning block: the target would be learnt as reasoning, never as an answer. "
            "Use a template without one."
        )
    encoded = iter(SpanEncoder(tokenizer, renderer, name=name, limit=None).encode(spans))
    examples: list[Example] = []
    dropped: list[tuple[str, str]] = []
    cut = 0
    for row, why in zip(rows, empty, strict=True):
        span = None if why else next(encoded)
        why = why or (span.error if span else "")
        over = len(span.ids) - max_tokens if span and not why else 0
        if span and over > 0 and over >= span.start:
            tokens = len(span.ids) - span.start
            why = f"the target alone has {tokens} tokens with its end, and a sequence at most {max_tokens}"
        if why or span is None:
            dropped.append((row.id, why))
            continue
        cut += over > 0
        examples.append(_example(span, max(over, 0), renderer.bos, row.weight))
    return Encoded(examples, tuple(dropped), cut)


def _empty(row: TrainingRow) -> str:
    """Why a row holds nothing to train on, if so."""
    if not any(message.role == "user" and message.content.strip() for message in row.chat):
        return "the prompt is empty"
    return "" if row.target.strip() else "the target is empty"


def _example(span: EncodedSpan, over: int, bos: int | None, weight: float) -> Example:
    """Ids and labels without ``over`` tokens of the prompt (fewer than it has)."""
    ids = [int(token) for token in span.ids]
    kept = 1 if over and ids[0] == bos else 0
    prompt = ids[:kept] + ids[kept + over : span.start]
    target = ids[span.start :]
    return {"input_ids": prompt + target, "labels": [MASKED] * len(prompt) + target, "weight": float(weight)}


Mode = Literal["loss", "repeat"]
WEIGHTS: dict[str, float] = {"minor": 1.0, "moderate": 2.0, "severe": 3.0, "extreme": 4.0}
"""The published weights."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Rows with their weights, and what became of the others.

    ``duplicates`` rows repeated a task, id and target, ``dropped`` rows weighed 0, and ``unsaid`` repair rows had no
    severity and weigh 1.
    """

    rows: list[TrainingRow]
    duplicates: int
    dropped: int
    unsaid: int


def check_weights(given: Mapping[str, float | str] | None = None, mode: Mode = "loss") -> dict[str, float]:
    """The published weights with those given in their places.

    Raises BadInput for an unknown severity, for a weight that is negative or not a finite number, and for a fraction
    where rows are repeated.
    """
    weights = dict(WEIGHTS)
    for word, value in (given or {}).items():
        if word not in WEIGHTS:
            raise BadInput(f"A weight is given for '{word}'.", do=f"Severities: {', '.join(SEVERITIES)}.")
        weights[word] = _number(value, f"The weight of '{word}'")
        if mode == "repeat":
            _times(weights[word], f"The weight of '{word}'")
    return weights


def weigh(
    rows: Iterable[TrainingRow],
    weights: Mapping[str, float | str] | None = None,
    mode: Mode = "loss",
) -> Weighed:
    """Give each repair row the weight of its severity; duplicates go first.

    Parameters
    ----------
    rows : a repair row's own weight is replaced, a distillation row's is kept.
    weights : see `check_weights`.
    mode : ``"loss"`` writes the weight into the row; ``"repeat"`` repeats the row as often and leaves each with weight 1.

    A weight of 0 drops the row. Raises BadInput for a bad weight, an unknown severity (naming the row), and a fraction where
    rows are repeated.
    """
    by_severity = check_weights(weights, mode)
    unique, duplicates = deduplicate(rows)
    out: list[TrainingRow] = []
    dropped = unsaid = 0
    for number, row in enumerate(unique, start=1):
        where = f"Training row '{row.id}' (number {number} without duplicates)"
        if row.task == "repair":
            if row.severity and row.severity not in by_severity:
                raise BadInput(f"{where} has the severity '{row.severity}'.", do=f"Known: {', '.join(SEVERITIES)}.")
            unsaid += not row.severity
            weight = by_severity[row.severity] if row.severity else 1.0
        else:
            weight = _number(row.weight, f"{where}: its weight")
        if weight == 0:
            dropped += 1
        elif mode == "repeat":
            out.extend([replace(row, weight=1.0)] * _times(weight, f"{where}: its weight"))
        else:
            out.append(replace(row, weight=weight))
    return Weighed(out, duplicates, dropped, unsaid)


def _number(value: float | str, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise BadInput(f"{what} is '{value}'.", do="Give a finite number of 0 or more.")
    return number


def _times(weight: float, what: str) -> int:
    if weight != int(weight):
        raise BadInput(f"{what} is {weight:g}, and rows cannot be repeated so often.", do="Put weights into the loss.")
    return int(weight)
