"""Random contexts: the real chat template around random token ids, each a pure function of (seed, number, pool).

Ids are drawn and fed as ids; no text is ever parsed, so nothing random can become a control token (specification 4.2, 9.15).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh128_hexdigest, xxh128_intdigest

from evenhand.engines.chat import ChatRenderer
from evenhand.errors import EngineError
from evenhand.methods.tsdi.estimate.pools import TokenPool
from evenhand.records import Message

_PROBES = ("Evenhand", "quartz river", "walking north", "Zebra", "maps and ink", "Old boats")
_REAL = "How do I bake a loaf of bread at home"
_ANSWER = "Evenhand"


@dataclass(frozen=True, slots=True)
class Frame:
    """What the chat template writes around a user's message, as token ids.

    ``start_tokens`` of the suffix are fixed assistant text, which the template writes before position 1.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    start_tokens: int = 0

    @property
    def digest(self) -> str:
        """xxh128 of the ids."""
        return xxh128_hexdigest(repr((self.prefix, self.suffix)).encode())


@dataclass(frozen=True, slots=True)
class Draw:
    """One random context. ``after`` are the random assistant tokens before the last measured position, L - 1 of them.

    ``uniform`` are as many numbers in [0, 1), for drawing these tokens from a model instead.
    """

    number: int
    prompt: NDArray[np.int32]
    after: NDArray[np.int32]
    uniform: NDArray[np.float64]


@dataclass(frozen=True)
class Contexts:
    """All random contexts of an estimate. Draw n does not depend on the number of draws, the batches, or ``length``: a longer
    prefix begins as a shorter one does.
    """

    pool: TokenPool
    frame: Frame
    seed: int
    prompt_lengths: tuple[int, int]
    length: int

    @cached_property
    def _key(self) -> str:
        return f"tsdi\x1f{self.seed}\x1f{self.pool.digest}\x1f{self.prompt_lengths[0]}\x1f{self.prompt_lengths[1]}"

    def draw(self, number: int) -> Draw:
        """Context ``number``, from its own Philox stream: prompt length, prompt, then the tokens after it."""
        rng = np.random.Generator(np.random.Philox(key=xxh128_intdigest(f"{self._key}\x1f{number}".encode())))
        low, high = self.prompt_lengths
        count = int(rng.integers(low, high, endpoint=True))
        prompt = self.pool.ids[rng.integers(self.pool.size, size=count)]
        # One number serves a place, whichever the variant: as an occurrence of the pool, or to draw from a model.
        uniform = rng.random(self.length - 1)
        places = np.minimum((uniform * self.pool.size).astype(np.int64), self.pool.size - 1)
        return Draw(number, prompt, self.pool.ids[places], uniform)

    def ids(self, draw: Draw, after: NDArray[Any] | None = None) -> NDArray[np.int64]:
        """Template, prompt, template, and the assistant tokens after it: T + L - 1 ids."""
        tail = draw.after if after is None else after
        parts = [np.asarray(self.frame.prefix), draw.prompt, np.asarray(self.frame.suffix), tail]
        return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])

    @property
    def longest(self) -> int:
        """Most tokens of a context, template and assistant tokens included."""
        return len(self.frame.prefix) + self.prompt_lengths[1] + len(self.frame.suffix) + self.length - 1

    def tokens(self, draws: int) -> int:
        """Tokens of the first ``draws`` contexts, for one model: exact."""
        fixed = len(self.frame.prefix) + len(self.frame.suffix) + self.length - 1
        return draws * fixed + sum(len(self.draw(n).prompt) for n in range(draws))


def find_frame(renderer: ChatRenderer, system_prompt: str | None = None) -> Frame:
    """The ids that the model's chat template writes before and after a user's message.

    They are what several rendered probes share, and a real chat must come out as prefix + its own ids + suffix, so that the
    estimate sees what the model is served with (BOS once, or never, just as there). Raises EngineError where the template opens a
    reasoning block, whose end is at no fixed position, or where it does not write the same ids around every message.
    """
    head = (Message("system", system_prompt),) if system_prompt is not None else ()
    prompts = renderer.prompts([(*head, Message("user", text)) for text in (*_PROBES, _REAL)])
    if any(prompt.opens_reasoning for prompt in prompts):
        raise EngineError(
            f"The chat template of {renderer.name} opens a reasoning block, so the answer begins at no fixed position, and "
            "TSDI corrects fixed positions. Give a template that turns reasoning off, or closes the block itself."
        )
    rows = [prompt.ids for prompt in prompts[: len(_PROBES)]]
    prefix = _shared(rows)
    suffix = _shared([row[len(prefix) :][::-1] for row in rows])[::-1]
    _check(renderer, prompts[-1].ids, prefix, suffix)
    return Frame(prefix, suffix, _fixed_start(renderer, head, rows[0]))


def _check(renderer: ChatRenderer, real: tuple[int, ...], prefix: tuple[int, ...], suffix: tuple[int, ...]) -> None:
    """A real chat against the frame: the serving context (specification 9.16)."""
    end = len(real) - len(suffix)
    if end < len(prefix) or real[: len(prefix)] != prefix or real[end:] != suffix:
        raise EngineError(
            f"The chat template of {renderer.name} does not write the same tokens around every message: the contexts of the "
            "estimate would not be those that it is served with."
        )
    bos = renderer.bos
    if renderer.adds_bos and (
        prefix[:1] != (bos,) or (prefix[1:2] == (bos,) and bos != renderer.tokenizer.eos_token_id)
    ):
        raise EngineError(f"The contexts of {renderer.name} do not begin with its start token exactly once.")


def _shared(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The beginning that all rows share."""
    first = rows[0]
    most = min(map(len, rows))
    count = next((i for i in range(most) if any(row[i] != first[i] for row in rows)), most)
    return first[:count]


def _fixed_start(renderer: ChatRenderer, head: tuple[Message, ...], ids: tuple[int, ...]) -> int:
    """Tokens of assistant text that the template writes at the start of every answer (an empty reasoning block, say)."""
    if renderer.plain:
        return 0
    chat = [{"role": m.role, "content": m.content} for m in (*head, Message("user", _PROBES[0]))]
    opened = renderer.written(chat, add_generation_prompt=True)
    answered = [*chat, {"role": "assistant", "content": _ANSWER}]
    try:
        before, found, _ = renderer.written(answered).rpartition(_ANSWER)
    except EngineError:
        raise
    except Exception:  # a template that takes no assistant message has nothing to tell
        return 0
    if not found or not opened.startswith(before) or not opened[len(before) :].strip():
        return 0
    return len(ids) - len(_plain_ids(renderer, before, ids))


def _plain_ids(renderer: ChatRenderer, text: str, ids: tuple[int, ...]) -> list[int]:
    found = list(renderer.tokenizer(text, add_special_tokens=False).input_ids)
    added = renderer.adds_bos and ids[:1] == (renderer.bos,) and found[:1] != [renderer.bos]
    return [int(renderer.bos or 0), *found] if added else found
