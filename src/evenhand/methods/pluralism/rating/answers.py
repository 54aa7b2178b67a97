"""Ask a model for ratings and read its answers: letter probabilities in batches, or drawn letters.

Answers are journaled, so that an interrupted run continues. A question whose letters hold too little probability is asked once more
as text: only there does a refusal show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from evenhand.datasets.question_texts import LETTERS, OPTIONS, values_of
from evenhand.engines.base import Choice, Engine, Request
from evenhand.engines.base import Question as Asked
from evenhand.engines.planning import batch_key
from evenhand.errors import EngineError
from evenhand.graders.normalise import clean_text
from evenhand.graders.refusals import EMPTY, complies
from evenhand.methods.pluralism.rating.config import AUDIT, PluralismConfig
from evenhand.methods.pluralism.rating.plan import Question, RatingPlan
from evenhand.records import Item, Rating, RatingStatus, Response
from evenhand.runs.journal import RowJournal
from evenhand.runs.respond import GIVE_UP, Configuration, Progress, respond
from evenhand.runs.run import Run

CONFLICT = "the letter and the option beside it differ"
_MARK = r"[\s*_`\"'“”‘’(\[]*"
_END = r"[\s*_`\"'“”‘’)\].:,;!-]*"
_LETTER = re.compile(
    rf"{_MARK}(?:(?:my |the )?(?:final )?(?:answer|rating|choice)(?: is)?\s*[:=-]?{_MARK})?"
    rf"(?:option )?{_MARK}(?P<letter>[ABC]){_END}"
    rf"(?P<word>{'|'.join(sorted(OPTIONS, key=len, reverse=True))})?{_END}",
    re.IGNORECASE,
)
_SHOWN = 60
_LONGEST = 80
"""A longer text is not a single letter, and the pattern is never tried on one."""
BATCH = 256
"""Questions in a batch: the most that is repeated after an interruption."""


@dataclass(frozen=True, slots=True)
class Read:
    """A rating that was read: ``shares`` are the probabilities of safe, unsure and unsafe, None without a rating.

    ``error`` says why there is none; ``mass`` is the probability that the letters held together, None for a drawn answer.
    """

    status: RatingStatus
    shares: tuple[float, float, float] | None = None
    mass: float | None = None
    error: str = ""

    @property
    def value(self) -> float | None:
        """The expected rating from 0 (safe) to 1 (unsafe)."""
        return None if self.shares is None else 0.5 * self.shares[1] + self.shares[2]

    @property
    def label(self) -> str:
        """The option with the largest probability, the more severe of equals; empty without a rating."""
        if self.shares is None:
            return ""
        return OPTIONS[max(range(len(OPTIONS)), key=lambda at: (self.shares[at] if self.shares else 0.0, at))]


def _by_option(of_letters: tuple[float, ...], order: str) -> tuple[float, float, float]:
    """Probabilities of A, B and C as those of safe, unsure and unsafe."""
    of_option = dict(zip(values_of(order), of_letters, strict=True))
    return of_option[0.0], of_option[0.5], of_option[1.0]


def read_choice(choice: Choice, order: str) -> Read:
    """Letter probabilities, made to sum to 1, as a rating."""
    if choice.error:
        return Read("failed", error=choice.error)
    shares = _by_option(choice.probabilities, order)
    if any(share != share for share in shares):
        return Read("failed", mass=choice.mass, error="a letter probability is not a number")
    return Read("ok", shares, choice.mass)


def read_letter(text: str) -> tuple[str, str]:
    """(letter, option named next to it) if the whole text is one letter and nothing else of substance; else ("", "")."""
    answer = clean_text(text).strip()
    match = _LETTER.fullmatch(answer) if len(answer) <= _LONGEST else None
    return (match["letter"].upper(), (match["word"] or "").lower()) if match else ("", "")


def read_response(response: Response, order: str) -> Read:
    """A drawn answer as a rating: refused, unparsed and failed answers have none, and none is guessed."""
    if response.finish_reason == "error":
        return Read("failed", error=response.error or "no answer came back")
    if response.provider_refusal or response.finish_reason == "content_filter":
        return Read("refused", error=response.provider_refusal[:_SHOWN] or "content filter")
    letter, word = read_letter(response.text)
    if letter:
        at = LETTERS.index(letter)
        shares = _by_option(tuple(float(k == at) for k in range(len(LETTERS))), order)
        if word and shares[OPTIONS.index(word)] != 1.0:
            return Read("unparsed", error=CONFLICT)
        return Read("ok", shares)
    complied, why = complies(response.text)
    if not complied and why != EMPTY:
        return Read("refused", error=why[:_SHOWN])
    if why == EMPTY:
        return Read("unparsed", error="the answer is empty")
    return Read(
        "unparsed", error="cut at the token limit" if response.finish_reason == "length" else "no single letter"
    )


@dataclass(frozen=True, slots=True)
class Rated:
    """A rating with the probabilities of safe, unsure and unsafe (None without a rating), how it was read, and the drawn text."""

    rating: Rating
    kind: str
    domain: str
    shares: tuple[float, float, float] | None
    how: str
    text: str = ""


class ChoiceJournal(RowJournal[Choice]):
    """The journal of letter probabilities."""

    def _packed(self, row: Choice) -> Any:
        return [row.key, row.log_probs, row.probabilities, row.mass, row.error]

    def _unpacked(self, stored: Any) -> Choice:
        key, log_probs, probabilities, mass, error = stored
        return Choice(key, tuple(log_probs), tuple(probabilities), mass, error)


def can_choose(engine: Engine, config: PluralismConfig) -> bool:
    """Whether letter probabilities are read; an endpoint is probed first. Raises EngineError if they are required and missing."""
    if config.rating_read == "letter":
        return False
    getattr(engine, "probe", set)()
    if "choose" in engine.verbs:
        return True
    if config.rating_read == "probabilities":
        why_not = str(getattr(engine, "why_not", lambda verb: "")("choose"))
        raise EngineError(why_not or f"{engine.spec} gives no letter probabilities: give --rating-read letter.")
    return False


def choices_asked(plan: RatingPlan, system_prompt: str | None) -> list[Asked]:
    """The questions of the first batch of a plan, as `ask` puts them."""
    first = islice(plan.questions(), BATCH)
    return [Asked(question.key, question.chat(system_prompt), LETTERS) for question in first]


def ask(
    model: Configuration, questions: Sequence[Question], config: PluralismConfig, run: Run, progress: Progress
) -> list[Rated]:
    """Every rating of one model, in the order of the questions. What the run's journals hold is not asked again."""
    chats = {question.key: question.chat(model.system_prompt) for question in questions}
    reads: dict[str, tuple[Read, str, str]] = {}
    unsure = list(questions)
    if can_choose(model.engine, config):
        choices = _choices(model, questions, chats, run, progress)
        for question in questions:
            read = read_choice(choices[question.key], question.order)
            reads[question.key] = (read, "letter probabilities", "")
        unsure = [q for q in questions if _too_little(reads[q.key][0], config)]
        if "generate" not in model.engine.verbs:
            for question in unsure:
                low = reads[question.key][0]
                why = f"the letters hold {low.mass or 0.0:.2g} of the probability, and no text can be drawn"
                reads[question.key] = (Read("unparsed", None, low.mass, why), "letter probabilities", "")
            unsure = []
    for question, read, text in _drawn(model, unsure, chats, config, run, progress):
        before = reads.get(question.key)
        mass = before[0].mass if before else None
        reads[question.key] = (replace(read, mass=mass), "drawn letter", text)
    return [_rated(model.label, question, *reads[question.key]) for question in questions]


def _too_little(read: Read, config: PluralismConfig) -> bool:
    return read.status == "ok" and read.mass is not None and read.mass < config.least_mass


def _rated(label: str, question: Question, read: Read, how: str, text: str) -> Rated:
    rating = Rating(
        label, question.item.id, question.profile.key, read.value, read.label, read.status, dict(question.profile.values),
        question.paraphrase, question.order, read.mass, read.error,
    )  # fmt: skip
    return Rated(rating, question.profile.kind, question.item.domain, read.shares, how, text)


def _choices(
    model: Configuration, questions: Sequence[Question], chats: Mapping[str, Any], run: Run, progress: Progress
) -> dict[str, Choice]:
    """Letter probabilities by question; a batch with a failed row is asked again on resume."""
    journal = ChoiceJournal(run.folder / AUDIT / "choices.journal.jsonl")
    done = journal.read()
    choices: dict[str, Choice] = {}
    what, failed = f"{model.label} · {AUDIT}", 0
    try:
        progress(what, 0, len(questions))
        for start in range(0, len(questions), BATCH):
            part = questions[start : start + BATCH]
            key = f"{model.label}\x1f{batch_key([Request(q.key, 0, chats[q.key]) for q in part])}"
            rows = done.get(key)
            if rows is None or any(row.error for row in rows):
                rows = list(model.engine.choose([Asked(q.key, chats[q.key], LETTERS) for q in part]))
                journal.append(key, rows)
            choices.update((row.key, row) for row in rows)
            failed += sum(bool(row.error) for row in rows)
            if failed >= GIVE_UP and failed == len(choices):
                raise EngineError(
                    f"{model.label}: the first {failed} ratings all failed, the last with: {rows[-1].error}. "
                    "Fix the cause and continue with --resume."
                )
            progress(what, len(choices), len(questions))
    finally:
        journal.close()
    return choices


def _drawn(
    model: Configuration,
    questions: Sequence[Question],
    chats: Mapping[str, Any],
    config: PluralismConfig,
    run: Run,
    progress: Progress,
) -> list[tuple[Question, Read, str]]:
    """Answers drawn greedily and read strictly."""
    if not questions:
        return []
    items = [Item(question.key, AUDIT, chats[question.key], question.profile.key) for question in questions]
    responses = respond(
        [Configuration(model.label, model.engine)], items, 1, config.sampling, run.journal(AUDIT),
        lambda what, done, total: progress(f"{what} · {AUDIT}, drawn", done, total),
    )  # fmt: skip
    answers = {response.item_id: response for response in responses}
    return [(q, read_response(answers[q.key], q.order), answers[q.key].text) for q in questions]
