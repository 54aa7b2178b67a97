"""Random contexts: a pool of tokens, the real chat template around them, and draws that depend on (seed, number, pool) alone.

Ids are drawn and fed as ids; no text is parsed, so nothing random can become a control token. Texts of a pool are tokenized
without a template, and special ids never enter it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh128, xxh128_hexdigest, xxh128_intdigest

from evenhand.datasets.table import SUFFIXES, read_table, resolve
from evenhand.engines.chat import ChatRenderer
from evenhand.errors import BadInput, EngineError
from evenhand.records import Message
from evenhand.text_input import json_or

BUILTIN, UNIFORM, DISTINCT = "builtin", "uniform", "distinct:"
FEWEST = 1_000
"""Occurrences below which a pool of text is rejected."""
_TEXT_FILE = ".txt"
_TEXT_ALIASES = {"text": ("prompt", "content", "user", "message", "instruction", "input", "response")}


@dataclass(frozen=True, slots=True, eq=False)
class TokenPool:
    """Token occurrences to draw from, i.i.d. and uniformly: ``ids``, int32, in the order of the texts.

    ``digest`` is the xxh128 of the ids; ``removed`` counts special and control ids removed from the texts.
    """

    name: str
    ids: NDArray[np.int32]
    removed: int = 0

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over the ids, in order."""
        return xxh128(np.ascontiguousarray(self.ids).data).hexdigest()

    @property
    def size(self) -> int:
        """Occurrences."""
        return len(self.ids)


def open_pool(
    asked: str, tokenizer: Any, *, valid: Sequence[int], excluded: Collection[int], columns: Mapping[str, str]
) -> TokenPool:
    """The pool of that name under a tokenizer.

    ``builtin``: shipped prose and questions. ``uniform``: every valid id once. ``distinct:POOL``: every distinct id of a pool
    once. Anything else is a file or a folder of files: a text a line (.txt), or a table with a column ``text``, or with
    ``question`` and ``choices`` as in MMLU, of which question and choices are the text.

    Parameters
    ----------
    valid : ids that both models can emit.
    excluded : special, control and unshared ids; they never enter a pool.

    Raises BadInput for a file that cannot be read (with the row), and for fewer than 1,000 occurrences.
    """
    allowed = np.asarray(sorted(set(valid) - set(excluded)), dtype=np.int32)
    if asked == UNIFORM:
        if columns:
            raise BadInput("The pool 'uniform' has no columns to map.")
        if len(allowed) < 2:
            raise BadInput(f"Only {len(allowed)} valid ids are left to draw from.")
        return TokenPool(UNIFORM, allowed)
    pool_files(asked)  # a missing file is reported first
    distinct = asked.startswith(DISTINCT)
    source = asked.removeprefix(DISTINCT)
    if source == BUILTIN and columns:
        raise BadInput("The built-in pool has no columns to map.", do="Give --pool FILE.")
    texts = builtin_passages() if source == BUILTIN else _file_texts(source, columns)
    ids = _tokenised(texts, tokenizer)
    kept = ids[np.isin(ids, allowed)]
    name = source if source == BUILTIN else Path(source).name
    if len(kept) < FEWEST:
        raise BadInput(
            f"The pool holds {len(kept):,} token occurrences after special ids are removed; at least {FEWEST:,} are needed.",
            file=None if source == BUILTIN else source,
            do="Give more text with --pool FILE, or use --pool builtin.",
        )
    removed = len(ids) - len(kept)
    if distinct:
        return TokenPool(DISTINCT + name, np.unique(kept), removed)
    return TokenPool(name, kept, removed)


def pool_files(asked: str) -> list[Path]:
    """The files that a pool is read from, in order; empty for the built-in and the uniform pool. Raises BadInput."""
    source = asked.removeprefix(DISTINCT)
    if source in (BUILTIN, UNIFORM):
        if asked == DISTINCT + UNIFORM:
            raise BadInput("The pool 'uniform' holds each id once already.", do="Give --pool uniform.")
        return []
    path = Path(source).expanduser()
    suffixes = (*SUFFIXES, _TEXT_FILE)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
        if not files:
            raise BadInput("The folder holds no texts.", file=path, do=f"Known files: {', '.join(suffixes)}.")
        return files
    if not path.exists():
        raise BadInput(
            f"There is no pool '{source}', and no such file.",
            do=f"Known pools: {BUILTIN}, {UNIFORM}, distinct:{BUILTIN}; or give a file ({', '.join(suffixes)}).",
        )
    return [path]


def builtin_passages() -> Iterator[str]:
    """Plain prose and questions on many subjects, written for Evenhand. They hold nothing about refusals."""
    text = Path(__file__).with_name("passages.txt").read_text(encoding="utf-8")
    return (passage.strip().replace("\n", " ") for passage in text.strip().split("\n\n"))


def _tokenised(texts: Iterator[str], tokenizer: Any) -> NDArray[np.int32]:
    texts_read = list(texts)
    rows = tokenizer(texts_read, add_special_tokens=False, verbose=False).input_ids if texts_read else []
    parts = [np.asarray(ids, dtype=np.int32) for ids in rows if ids]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _file_texts(source: str, columns: Mapping[str, str]) -> Iterator[str]:
    for path in pool_files(source):
        if path.suffix.lower() == _TEXT_FILE:
            yield from _lines(path)
        else:
            yield from _table_texts(path, columns)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"The file cannot be read ({error.strerror}).", file=path) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"The file is not UTF-8 (byte {error.start}).", file=path) from None
    yield from (line.strip() for line in text.splitlines() if line.strip())


def _table_texts(path: Path, columns: Mapping[str, str]) -> Iterator[str]:
    table = read_table(path)
    roles = set(columns)
    questions = bool(roles & {"question", "choices"}) or (
        "text" not in roles and {"question", "choices"} <= set(table.frame.columns)
    )
    if questions:
        column_of = resolve(table, columns, required=("question", "choices"), optional=("subject",))
    else:
        column_of = resolve(table, columns, required=("text",), aliases=_TEXT_ALIASES)
    for number, row in enumerate(table.rows(), start=1):
        main = row[column_of["question" if questions else "text"]]
        if main is None or not main.strip():
            raise BadInput("The row has no text.", file=path, row=number, do="Take it out, or fill it in.")
        yield "\n".join([main, *_choices(row[column_of["choices"]], path, number)]) if questions else main


def _choices(text: str | None, path: Path, number: int) -> list[str]:
    """The choices of a question: a JSON list of at least two texts."""
    choices = json_or(text or "", None)
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(part, str) for part in choices):
        raise BadInput("The choices are not a list of texts.", file=path, row=number, do='Write ["A", "B", "C", "D"].')
    return choices


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
    estimate sees what the model is served with (BOS once, or never, just as there). Raises EngineError if the template opens a
    reasoning block, whose end is at no fixed position, or if it does not write the same ids around every message.
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
    """Compare a real chat with the frame: contexts must equal what the model is served with."""
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
        before, answer, _ = renderer.written(answered).rpartition(_ANSWER)
    except EngineError:
        raise
    except Exception:  # a template that takes no assistant message writes no fixed start
        return 0
    if not answer or not opened.startswith(before) or not opened[len(before) :].strip():
        return 0
    return len(ids) - len(_plain_ids(renderer, before, ids))


def _plain_ids(renderer: ChatRenderer, text: str, ids: tuple[int, ...]) -> list[int]:
    plain = list(renderer.tokenizer(text, add_special_tokens=False).input_ids)
    added = renderer.adds_bos and ids[:1] == (renderer.bos,) and plain[:1] != [renderer.bos]
    return [int(renderer.bos or 0), *plain] if added else plain
