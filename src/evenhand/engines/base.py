"""What every engine offers: identity, a batch plan, and up to three verbs (generate, score, choose)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from evenhand.errors import EngineError
from evenhand.records import LogProb, Message, Response

Verb = Literal["generate", "score", "choose"]


class Sampling(BaseModel):
    """How text is drawn from a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(1.0, ge=0, description="Softmax temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus mass to sample from.")
    max_tokens: int = Field(256, ge=1, description="Longest response, in the model's tokens.")
    stop: tuple[str, ...] = Field((), description="Strings that end a response; they are not part of its text.")
    seed: int = Field(0, ge=0, description="Seed of every random stream.")


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that makes a model's answers its own; part of every cache key and manifest.

    ``digest`` is the xxh128 of all the other fields, so two checkpoints under one name never share a row.
    """

    spec: str
    weights: str
    tokenizer: str = ""
    chat_template: str = ""
    adapter: str = ""
    dtype: str = ""
    quantisation: str = ""
    processors: str = ""
    engine: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over every field."""
        import json
        from dataclasses import asdict

        from xxhash import xxh128_hexdigest

        return xxh128_hexdigest(json.dumps(asdict(self), sort_keys=True, ensure_ascii=True).encode())

    def row(self) -> dict[str, Any]:
        """Every field and the digest, as a manifest holds them."""
        from dataclasses import asdict

        return {**asdict(self), "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Request:
    """One response to be drawn: a chat, and which repetition of it."""

    item_id: str
    repetition: int
    chat: tuple[Message, ...]
    plain: bool = False
    """Continue the last message's text as it is, without a chat template (the chat holds one message)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A text to be scored, y, after its context, x: ``context`` as plain text, or ``chat`` under the model's template.

    ``key`` is its name in a table. ``end`` scores the model's end-of-turn (plain text: end-of-sequence) token too: for full
    responses, never for sentence probes, and always alike in policy and reference.
    """

    key: str
    text: str
    context: str = ""
    chat: tuple[Message, ...] = ()
    end: bool = False


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """The unit of redo for scores. ``key`` is a digest of the spans it holds, in order."""

    key: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A chat and the answers of which the model chooses one."""

    key: str
    chat: tuple[Message, ...]
    options: tuple[str, ...]
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model makes of a question's options.

    ``log_probs`` (nats) are those of the options' texts after the prompt, ``probabilities`` the same made to sum to 1, and
    ``mass`` the probability of all options together: little mass means that the model would say something else.
    ``error`` says why a row failed; its numbers are then empty.
    """

    key: str
    log_probs: tuple[float, ...]
    probabilities: tuple[float, ...]
    mass: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """The unit of redo. ``key`` is a digest of what it holds: a resumed run finds its finished batches by it."""

    key: str
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost: calls, prompt tokens, and completion tokens at most (exact or approximate).

    ``seconds`` and ``memory_bytes`` (peak, of the process or of ``memory_on``) are known after a probe of ``probed_rows`` rows
    on this machine; ``at_most`` where the time is that of responses which all reach their limit. ``not_probed`` says why not.
    """

    calls: int
    prompt_tokens: int
    max_completion_tokens: int
    exact: bool
    seconds: float | None = None
    memory_bytes: int | None = None
    memory_on: str = ""
    probed_rows: int = 0
    at_most: bool = False
    not_probed: str = ""


@runtime_checkable
class Engine(Protocol):
    """Text and log-probabilities from one model. ``config`` names the configuration in every response."""

    spec: str

    @property
    def verbs(self) -> frozenset[Verb]:
        """What it can do: ``generate``, ``score``, ``choose``."""
        ...

    def identity(self) -> Identity:
        """The model's full identity."""
        ...

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Split requests into batches: a pure function of the whole request table and the settings."""
        ...

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Count calls and tokens without generating anything."""
        ...

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Yield each batch with its responses (one per request, in request order), in any order of batches.

        A request that fails after all retries yields a Response with ``finish_reason="error"`` and its reason.
        """
        ...

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """Split spans into batches: a pure function of the whole span table and the settings.

        Spans of equal text and context are in one batch, and scored once.
        """
        ...

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """Yield each batch with one LogProb a span, in span order. A span that cannot be scored has ``error`` set.

        Raises EngineError at once where the engine cannot score.
        """
        ...

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        """(first character of the context that is kept, border in characters, whether a token moved it), alike for all texts.

        Texts are scored as ``Span(text=whole[border:], context=whole[first:border])`` of ``whole = context + text``.
        """
        ...

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """Yield the probabilities of each question's options, in the order of the questions, from one pass a question."""
        ...

    def close(self) -> None:
        """Release connections and memory."""
        ...


class TextOnly:
    """What an engine inherits that generates and can do nothing else: its ``verbs`` are ``{"generate"}``."""

    spec: str

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """Raises EngineError."""
        raise self._cannot("score")

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """Raises EngineError."""
        raise self._cannot("score")

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        """Raises EngineError."""
        raise self._cannot("score")

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """Raises EngineError."""
        raise self._cannot("choose")

    def _cannot(self, verb: Verb) -> EngineError:
        return EngineError(f"{self.spec} only generates text: no {verb}.")
