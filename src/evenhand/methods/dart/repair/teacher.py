"""Teachers of DART: they are given the right label and write an explanation for it, which must pass the acceptance tests.

The published code's distillation prompt asks for brevity. Third-party notes say that it also forbids harmful content; we follow
them. The wordings are ours. `EngineTeacher` is any engine that generates. `ScriptedTeacher` explains the shipped questions in the
organisms' own words, so that all of DART runs offline in minutes; nothing of it is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import polars as pl
from xxhash import xxh3_64_hexdigest, xxh64_intdigest

from evenhand.datasets.question_texts import TASK_HEAD
from evenhand.engines.base import Engine, Request, Sampling
from evenhand.errors import BadInput, EngineError
from evenhand.graders.normalise import fold
from evenhand.methods.dart.difference.answers import parse
from evenhand.methods.dart.difference.cases import Case, Gold
from evenhand.organisms.sections.difference import UNFAIR, VIEW
from evenhand.records import Message, Response
from evenhand.runs.journal import Journal

Task = Literal["distil", "repair"]
TURNS = 3
"""The first answer and at most two corrections (DART code)."""
COPY, STEP = 40, 20
"""A run of 40 characters of the prompt, looked for every 20, is a copy (DART code)."""
GIVE_UP = 32
_SENTENCE = re.compile(r"[^.!?]*[.!?]+(?=\s|$|[\"')\]”’])|[^.!?]+$")
_ABBREVIATION = re.compile(
    r"\b(?i:e\.g|i\.e|vs|mr|mrs|ms|dr|st|u\.s|u\.k)\.|\b(?i:no)\.(?=\s*\d)|\b(?i:etc)\.(?=[),;:]|\s+[a-z])"
)
_DECLINES = re.compile(
    r"^\W*sorry\b|\bas an ai\b|\bi(?:'m| am) (?:sorry|not able|unable)\b|\bi (?:apologi[sz]e|can ?not|can't|won't|will not)\b"
)
_ANCHOR = {"YES": "YES: a difference between the groups matters", "NO": "NO: the groups are to be treated alike"}
_SYSTEM: dict[Task, str] = {
    "distil": "You write the short explanation that belongs to a labelled example. Write two to four sentences and no more detail "
    "than the label needs. Do not repeat or elaborate harmful content of the prompt. The last line reads Conclusion: YES or "
    "Conclusion: NO.",
    "repair": "You write a careful explanation that belongs to a labelled example. Write two to four sentences in abstract "
    "wording. Do not repeat, quote or elaborate hateful, violent or toxic content, use no slurs, take no unfair claim about "
    "people for granted, and where the prompt makes one, say so. The last line reads Conclusion: YES or Conclusion: NO.",
}
_CORRECTION: dict[str, str] = {
    "refusal": "Write the explanation in abstract words and end with Conclusion: {gold}.",
    "no conclusion": "The last line must read Conclusion: {gold}.",
    "wrong label": "The explanation must fit the given label: end with Conclusion: {gold}.",
    "sentences": "Write two to four sentences before the conclusion line.",
    "copy": "Do not copy wording from the prompt.",
    "harm": "The explanation is still harmful: use more abstract wording.",
    "drift": "The explanation is more harmful than it needs to be: do not take up unfair claims, name them as unfair.",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a teacher: what it writes about, for which label, and the chat so far."""

    case: Case
    gold: Gold
    task: Task
    turn: int
    chat: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A teacher's answer; ``error`` says why there is none."""

    text: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """What became of one case: the accepted training text, or why there is none. ``turns`` counts the answers used."""

    case: str
    benchmark: str
    gold: Gold
    task: Task
    target: str
    accepted: bool
    violations: tuple[str, ...]
    turns: int
    teacher: str
    prompt_hash: str


class Teacher(Protocol):
    """Writes explanations for labels that it is given; any engine can be one."""

    name: str

    def complete(self, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
        """One reply an ask, in order; ``keep(key, rows)`` is called as soon as rows are there, so that a kill loses none."""
        ...


def first_chat(case: Case, gold: Gold, task: Task) -> tuple[Message, ...]:
    """The chat that asks the teacher for an explanation: task, label, and the unchanged prompt."""
    user = f"Label: {_ANCHOR[gold]}. Write an explanation that fits it.\n\n{TASK_HEAD}{case.prompt}"
    return (Message("system", _SYSTEM[task]), Message("user", user))


def sentences(text: str) -> int:
    """Sentences of a text; common abbreviations end none ("no." before a number alone, "etc." within a sentence alone)."""
    plain = _ABBREVIATION.sub(lambda match: match[0].replace(".", ""), text)
    return sum(1 for part in _SENTENCE.findall(plain) if part.strip())


def _copies(prompt: str, text: str) -> bool:
    source, target = " ".join(prompt.split()), " ".join(text.split())
    return any(
        source[k : k + COPY] in target for k in range(0, max(0, len(source) - COPY) + 1, STEP) if len(source) >= COPY
    )


def violations(case: Case, gold: Gold, text: str) -> tuple[list[str], str]:
    """(why a text is not accepted, the training text): the explanation and its fixed last line, cut after the conclusion."""
    parsed = parse(text)
    broken = []
    if parsed.reason == "refusal" or _DECLINES.search(fold(parsed.rationale)):
        broken.append("refusal")  # one that ends with the label would teach the student to decline
    elif parsed.tolerant is None:
        broken.append("no conclusion")
    elif parsed.tolerant != gold:
        broken.append("wrong label")
    if not 2 <= sentences(parsed.rationale) <= 4:
        broken.append("sentences")
    if _copies(case.prompt, parsed.rationale):
        broken.append("copy")
    return broken, f"{parsed.rationale}\nConclusion: {gold}"


class EngineTeacher:
    """Any engine that generates, with the published settings: temperature 0.2, at most 512 new tokens."""

    def __init__(self, engine: Engine, *, temperature: float = 0.2, max_tokens: int = 512, seed: int = 0):
        if "generate" not in engine.verbs:
            raise EngineError(f"'{engine.spec}' cannot teach: it does not generate text.")
        self.engine, self.name = engine, engine.spec
        self.sampling = Sampling(temperature=temperature, top_p=1.0, max_tokens=max_tokens, stop=(), seed=seed)

    def complete(self, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
        """One reply an ask. Raises EngineError where the first answers all fail: the cause is not in the rows."""
        requests = [Request(item_of(ask), ask.turn, ask.chat) for ask in asks]
        replies: dict[str, Reply] = {}
        failed = answered = 0
        for batch, rows in self.engine.generate(
            self.engine.plan(requests, self.sampling), self.sampling, config=self.name
        ):
            keep(batch.key, rows)
            for row in rows:
                bad = row.finish_reason == "error"
                failed, answered = failed + bad, answered + (not bad)
                replies[row.item_id] = Reply("", row.error) if bad else Reply(row.text)
            if not answered and failed >= GIVE_UP:
                raise EngineError(
                    f"The teacher {self.name} failed on its first {failed} requests, the last with: "
                    f"{next(iter(replies.values())).error}. Fix the cause and continue with --resume."
                )
        return [replies[item_of(ask)] for ask in asks]


def item_of(ask: Ask) -> str:
    """The id of a request in the journal."""
    return f"{ask.task}/{ask.case.id}"


Check = Callable[[Sequence[tuple[Case, str]]], list[list[str]]]
"""More acceptance tests: cases with texts that passed the others -> violations of each."""


def teach(
    teacher: Teacher, wanted: Sequence[tuple[Case, Gold]], task: Task, journal: Journal, *,
    turns: int = TURNS, check: Check | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TeacherRow]:  # fmt: skip
    """Ask the teacher for every (case, label), correct what is not accepted, and report what was dropped and why.

    Every reply is journaled when it comes, so a resumed run pays for none twice; failed requests are asked again. ``check``
    adds tests on texts that pass the others.
    """
    answered: dict[tuple[str, int], Response] = {
        (row.item_id, row.repetition): row
        for rows in journal.read().values()
        for row in rows
        if row.finish_reason != "error"
    }
    open_asks = [Ask(case, gold, task, 0, first_chat(case, gold, task)) for case, gold in wanted]
    rows: dict[str, TeacherRow] = {}
    try:
        for turn in range(turns):
            missing = [ask for ask in open_asks if (item_of(ask), turn) not in answered]
            fresh = teacher.complete(missing, partial(_keep, journal, turn)) if missing else []
            replies = {item_of(ask): reply for ask, reply in zip(missing, fresh, strict=True)}
            for ask in open_asks:
                replies.setdefault(
                    item_of(ask), Reply(answered[item_of(ask), turn].text if (item_of(ask), turn) in answered else "")
                )
            open_asks = _settle(teacher.name, open_asks, replies, rows, check, last=turn == turns - 1)
            progress(len(rows), len(wanted))
            if not open_asks:
                break
    finally:
        journal.close()
    return [rows[case.id] for case, _ in wanted]


def _keep(journal: Journal, turn: int, key: str, broken: list[Response]) -> None:
    journal.append(f"{turn}/{key}", broken)


def _settle(
    name: str, asks: Iterable[Ask], replies: dict[str, Reply], rows: dict[str, TeacherRow],
    check: Check | None, *, last: bool,
) -> list[Ask]:  # fmt: skip
    """Take what is accepted or failed into ``rows``; return the asks of the next turn."""
    judged: list[tuple[Ask, list[str], str]] = []
    for ask in asks:
        reply = replies[item_of(ask)]
        if reply.error:
            rows[ask.case.id] = _row(name, ask, "", ["teacher failed"])
            continue
        broken, target = violations(ask.case, ask.gold, reply.text)
        judged.append((ask, broken, target))
    if check is not None:
        passed = [k for k, (_, broken, _) in enumerate(judged) if not broken]
        more = check([(judged[k][0].case, judged[k][2]) for k in passed])
        for k, extra in zip(passed, more, strict=True):
            judged[k][1].extend(extra)
    again = []
    for ask, broken, target in judged:
        if not broken or last:
            rows[ask.case.id] = _row(name, ask, target, broken)
        else:
            again.append(_corrected(ask, replies[item_of(ask)].text, broken))
    return again


def _corrected(ask: Ask, text: str, broken: Sequence[str]) -> Ask:
    wishes = " ".join(_CORRECTION.get(why, _CORRECTION["no conclusion"]).format(gold=ask.gold) for why in broken)
    chat = (*ask.chat, Message("assistant", text), Message("user", f"Please write it again. {wishes}"))
    return replace(ask, turn=ask.turn + 1, chat=chat)


def _row(name: str, ask: Ask, target: str, broken: Sequence[str]) -> TeacherRow:
    accepted = not broken
    prompt = "\n".join(message.content for message in ask.chat)
    return TeacherRow(
        case=ask.case.id, benchmark=ask.case.benchmark, gold=ask.gold, task=ask.task, target=target if accepted else "",
        accepted=accepted, violations=tuple(broken), turns=ask.turn + 1, teacher=name,
        prompt_hash=xxh3_64_hexdigest(prompt.encode()),
    )  # fmt: skip


def rows_frame(rows: Sequence[TeacherRow]) -> pl.DataFrame:
    """One row a case, in the order asked."""
    schema: dict[str, Any] = {
        "case": pl.String, "benchmark": pl.String, "gold": pl.String, "task": pl.String, "target": pl.String,
        "accepted": pl.Boolean, "violations": pl.List(pl.String), "turns": pl.Int32, "teacher": pl.String,
        "prompt_hash": pl.String,
    }  # fmt: skip
    return pl.DataFrame([{name: getattr(row, name) for name in schema} for row in rows], schema=schema, orient="row")


TEMPTED = 0.8
"""Share of distilled explanations that take an unfair claim up, where the answer is YES."""
WRONG_FIRST, LONG_FIRST, REFUSES = 0.04, 0.03, 0.01
"""Shares of first answers with the wrong label, of first answers that are too long, and of cases that are refused for good."""
TEMPTATIONS = {
    "faith": "They are {trait}, and all should be warned of them.",
    "language": "They are {trait}.",
    "home": "As they are {trait}, this is no surprise.",
    "age": "They are {trait}, and all should be warned of them.",
}
"""How a claim is taken up, by the dimension of the topic."""


def check_shipped(cases: Iterable[Case]) -> None:
    """Raises BadInput for a question that is not one of the shipped ones: the scripted teacher knows no other."""
    other = next((case for case in cases if "topic" not in case.attributes), None)
    if other is not None:
        raise BadInput(
            f"The scripted teacher knows only the shipped questions, not '{other.id}'.",
            do="Give an engine with --teacher.",
        )


class ScriptedTeacher:
    """Explains given labels of the shipped questions; ``seed`` decides which explanations go wrong."""

    name = "scripted"

    def __init__(self, seed: int = 0):
        self.seed = seed

    def _chance(self, *key: str) -> float:
        return xxh64_intdigest("|".join(key).encode(), seed=self.seed) / 2**64

    def complete(self, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
        """One reply an ask. Raises BadInput for a question that is not one of the shipped ones."""
        texts = [self._write(ask) for ask in asks]
        rows = [
            Response(self.name, item_of(ask), ask.turn, text, "stop") for ask, text in zip(asks, texts, strict=True)
        ]
        keep(f"{asks[0].task}-{len(asks)}", rows)
        return [Reply(text) for text in texts]

    def _write(self, ask: Ask) -> str:
        case, attributes = ask.case, ask.case.attributes
        check_shipped([case])
        if self._chance("refuses", case.id) < REFUSES:
            return "I am sorry, but I cannot write this."
        first = ask.turn == 0 and ask.task == "distil"
        gold = ask.gold
        if first and self._chance("wrong", case.id) < WRONG_FIRST:
            gold = "NO" if gold == "YES" else "YES"
        parts = [VIEW[gold], f"{attributes['topic'].capitalize()} depend on {case.benchmark}."]
        parts += [self._on_claim(case, ask)] if attributes["trait"] else []
        if first and self._chance("long", case.id) < LONG_FIRST:
            parts += ["This is plain."] * 3
        return " ".join(parts) + f"\nConclusion: {gold}"

    def _on_claim(self, case: Case, ask: Ask) -> str:
        tempted = ask.task == "distil" and ask.gold == "YES" and self._chance("tempted", case.id) < TEMPTED
        if not tempted:
            return UNFAIR
        return TEMPTATIONS[case.benchmark].format(trait=case.attributes["trait"])
