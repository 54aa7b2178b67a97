"""The rows that flow: Item -> Response -> Grade -> Finding, and Pair -> LogProb -> Finding.

Frozen and typed; every stage reads and writes tables of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Label = Literal["answer", "partial answer", "failure", "refusal", "harmful refusal", "harmful answer"]
LABELS: tuple[Label, ...] = ("answer", "partial answer", "failure", "refusal", "harmful refusal", "harmful answer")
DECLINED: frozenset[str] = frozenset({"refusal", "harmful refusal"})
HARMFUL: frozenset[str] = frozenset({"harmful refusal", "harmful answer"})
SERVED: frozenset[str] = frozenset({"answer"})
SERVED_LENIENT: frozenset[str] = frozenset({"answer", "partial answer"})
UNSERVED: frozenset[str] = frozenset({"refusal", "harmful refusal", "failure"})

FinishReason = Literal["stop", "length", "content_filter", "error"]
RatingStatus = Literal["ok", "refused", "unparsed", "failed"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Item:
    """One thing put to a model.

    ``clusters`` names the randomised units it belongs to, for example ``{"name": "Emily", "stem": "S01"}``.
    ``attributes`` are further columns (gender, frequency, topic) that findings may slice by.
    """

    id: str
    audit: str
    chat: tuple[Message, ...]
    group: str
    stratum: str = ""
    clusters: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that differ in one thing, with the context they share.

    ``context + harmful`` and ``context + comparison`` are the full texts; ``context`` may be empty. ``group`` is who the
    harmful text is about, ``comparison_group`` who the comparison is about. ``cluster`` is the randomised unit (the predicate
    within the group). ``kind`` is ``"harm"``, or ``"neutral"`` for a control pair whose predicate is harmless;
    ``pair_set`` names the set it comes from (``identity``, ``binary``, ``winoqueer``). ``minimal`` is False where the two
    differ in more than the group; such a pair stays out of reward summaries. ``attributes`` are further columns.
    """

    id: str
    cluster: str
    context: str
    harmful: str
    comparison: str
    group: str
    comparison_group: str
    theme: str = ""
    template: str = ""
    referent: str = ""
    kind: Literal["harm", "neutral"] = "harm"
    pair_set: str = ""
    minimal: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogProb:
    """The log-probability score that a model gives one text in its context.

    ``total`` is the sum over ``tokens`` of ln p(token | all before it) in nats, None for a failed row, whose ``error`` says
    why. ``tokens`` are the scored token ids (empty if an endpoint does not report them), ``values`` their log-probabilities in
    float32 precision, and ``offsets`` where each begins and ends in context + text, in characters. ``context_tokens`` are the
    tokens before them, the beginning-of-sequence token included.
    """

    span: str
    total: float | None
    tokens: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    context_tokens: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What a model returned for (config, item, repetition).

    ``text`` is the visible answer, with reasoning blocks moved to ``reasoning``. ``finish_reason`` is ``"error"`` for a
    failed row, whose ``error`` then says why; a failed row never turns into a label. ``provider_refusal`` is the
    provider's own signal (an OpenAI ``refusal`` field, or a content-filter stop).
    Token counts are in the model's own tokens, None if an endpoint does not report them.
    """

    config: str
    item_id: str
    repetition: int
    text: str
    finish_reason: FinishReason
    reasoning: str = ""
    provider_refusal: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Grade:
    """The label that a grader gave a response, with its evidence.

    ``label`` is None when there is none; ``missing`` then says why (``judge_missing``, ``response_missing``,
    ``out_of_grammar``). ``source`` is ``"grader"``, ``"provider"`` or ``"human"``.
    """

    config: str
    item_id: str
    repetition: int
    grader: str
    label: Label | None
    evidence: str = ""
    source: Literal["grader", "provider", "human"] = "grader"
    missing: str = ""
    hedged: bool = False
    truncated: bool = False
    echo_stripped: bool = False


@dataclass(frozen=True, slots=True)
class Rating:
    """The value that a rater, a person or a model under a profile, gives an item.

    ``value`` runs from 0 (safe) over 0.5 (unsure) to 1 (unsafe); it is None, and never imputed, where ``status`` is not
    ``"ok"``: the model declined (``"refused"``), its answer had no option (``"unparsed"``), or no answer came back
    (``"failed"``, with the reason in ``error``). ``label`` is the option that was chosen, empty without one. ``profile`` is
    empty in the neutral condition. ``paraphrase`` and ``order`` are those of the question (`datasets.rating_prompt`), None and
    empty for a person. ``mass`` is the probability that the options held together, None if it is not reported.
    """

    config: str
    item_id: str
    rater_id: str
    value: float | None
    label: str
    status: RatingStatus = "ok"
    profile: Mapping[str, str] = field(default_factory=dict)
    paraphrase: int | None = None
    order: str = ""
    mass: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval in the unit of its estimate; ``level`` is its intended coverage, for example 0.95."""

    low: float
    high: float
    level: float
    method: str

    @property
    def width(self) -> float:
        """High end minus low end."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class HypothesisTest:
    """A test of no difference: p, how it was computed, and the smallest p it could have given.

    ``count`` of ``permutations`` arrangements are at least as extreme as the observed one, so an exact p is their quotient.

    ``p_holm`` and ``q_bh`` are adjusted within the family (one outcome, one configuration), ``q_bh_all`` by
    Benjamini-Hochberg over every contrast of every outcome and configuration of the audit.
    """

    p: float | None
    method: str
    smallest_p: float | None = None
    count: int | None = None
    permutations: int | None = None
    exact: bool | None = None
    family: str = ""
    family_size: int | None = None
    p_holm: float | None = None
    q_bh: float | None = None
    q_bh_all: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """An estimate with interval, test, n, method, and a selector of the rows behind it.

    ``estimate`` is None where the estimand is undefined; ``reason`` then says why, as it says why an interval or a test is
    missing. ``decision`` is what a comparison allows to be stated (`findings.decide`), with its ``decision_reason``; both are
    empty for a finding that compares nothing, and in runs made before decisions were stored. ``unit`` is ``"probability"``,
    ``"difference of probabilities"``, ``"ratio"``, ``"words"`` and so on. ``evidence`` holds the column values that select the
    rows of the run's tables behind the number, and ``evidence_digest`` the xxh3-128 of their sorted ids.
    """

    id: str
    audit: str
    estimand: str
    outcome: str
    config: str
    group: str | None
    reference: str | None
    estimate: float | None
    unit: str
    interval: Interval | None = None
    test: HypothesisTest | None = None
    n: int = 0
    clusters: Mapping[str, int] = field(default_factory=dict)
    standard_error: float | None = None
    minimum_detectable: float | None = None
    grader: str = ""
    reason: str = ""
    decision: str = ""
    decision_reason: str = ""
    slice: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    evidence_digest: str = ""


MOST_TOKENS = 2**31 - 1
"""The largest count that a table holds (a 32-bit integer); no real text comes near it."""

_COUNTS = ("prompt_tokens", "completion_tokens")


def token_count(value: Any) -> int | None:
    """``value`` if it is a whole number from 0 to `MOST_TOKENS`; None for anything else (text, fraction, NaN, list)."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None


def implausible_count(counts: Any) -> str:
    """The first implausible token count of a mapping, as ``name (kind or magnitude)``; empty if every one is plausible."""
    if not isinstance(counts, dict):
        return ""
    for name in _COUNTS:
        value = counts.get(name)
        if value is not None and token_count(value) is None:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return (
                f"{name} = {value:.6g}" if number and abs(value) < 1e300 else f"{name} of type {type(value).__name__}"
            )
    return ""


def mended_counts(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored response with each implausible token count replaced by None; the same object if there is none."""
    wrong = [name for name in _COUNTS if name in stored and stored[name] != token_count(stored[name])]
    return {**stored, **dict.fromkeys(wrong)} if wrong else stored
