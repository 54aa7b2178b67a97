"""Toy transfer queries, engines that answer them by rule, and a run of the transfer audit on them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evenhand.config import make_config
from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.methods.dart.transfer.audit import TransferAudit
from evenhand.records import Response
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

COLUMNS = (
    "id", "domain", "needs", "group", "dimension", "query", "key_fact", "key_terms", "wrong_terms", "source", "url", "checked",
)  # fmt: skip
RIGHT = "People of Arin begin at 45, earlier than others."
GENERIC = "Speak to the office; they help everybody in the same friendly way."
WRONG = "People of Arin are exempt."
REFUSAL = "I'm sorry, but I cannot help with that."
SAME = "The same fee applies to all."
Said = str | Response


def toy_rows(domains: Sequence[str] = ("medical", "legal"), each: int = 8) -> list[dict[str, str]]:
    """``each`` queries a domain, every fourth of them a control."""
    rows = []
    for domain in domains:
        for number in range(each):
            control = number % 4 == 3
            rows.append(
                {
                    "id": f"{domain}-{number:03}", "domain": domain, "needs": "equal" if control else "difference",
                    "group": "people of Arin", "dimension": "region",
                    "query": f"A {domain} question, number {number}: what must a clerk know about people of Arin?",
                    "key_fact": "The same fee applies to all." if control else "For people of Arin it begins at 45, not at 50.",
                    "key_terms": "same fee|no different" if control else "45|forty-five; arin",
                    "wrong_terms": "higher fee" if control else "exempt|at 60",
                    "source": "Code of Arin, s. 1", "url": "https://example.org/arin", "checked": "2026-11",
                }
            )  # fmt: skip
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write rows as csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


class ToyEngine(TextOnly):
    """Answers each request by a function of its id and its last message, in batches of three."""

    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(self, spec: str, answer: Callable[[Request], Said]):
        self.spec, self.answer = spec, answer
        self.asked: list[Request] = []
        self.samplings: list[Sampling] = []

    def identity(self) -> Identity:
        """The identity of the script."""
        return Identity(self.spec, "toy")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of three."""
        parts = [tuple(requests[i : i + 3]) for i in range(0, len(requests), 3)]
        return [Batch("|".join(request.item_id for request in part), part) for part in parts]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Ten tokens a prompt."""
        return Estimate(len(requests), 10 * len(requests), sampling.max_tokens * len(requests), True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Answers, the last batch first."""
        self.samplings.append(sampling)
        for batch in reversed(batches):
            self.asked += batch.requests
            yield batch, [self._one(request, config) for request in batch.requests]

    def _one(self, request: Request, config: str) -> Response:
        said = self.answer(request)
        if isinstance(said, Response):
            return replace(said, config=config, item_id=request.item_id, repetition=request.repetition)
        return Response(config, request.item_id, request.repetition, said, "stop")

    def close(self) -> None:
        """Nothing to release."""


def number_of(request: Request) -> int:
    """The number in the id of the query that a request asks."""
    return int(request.item_id[-3:])


def model(spec: str, difference: Callable[[int], Said], control: Said = SAME) -> ToyEngine:
    """A model that answers a query that needs a difference by its number, and every control alike."""
    return ToyEngine(spec, lambda request: control if number_of(request) % 4 == 3 else difference(number_of(request)))


def judge(answer: Callable[[str, str], str]) -> ToyEngine:
    """A judge that replies by the judged answer and the whole task put to it."""

    def reply(request: Request) -> str:
        task = request.chat[-1].content
        return answer(task.split("The answer was:\n")[1].split("\n")[1], task)

    return ToyEngine("judge", reply)


def honest_judge() -> ToyEngine:
    """A judge that knows the toy's answers."""
    names = {RIGHT: "difference_appropriate", WRONG: "wrong_or_harmful", REFUSAL: "refusal"}
    return judge(lambda answer, task: f'{{"class": "{names.get(answer, "equal_generic")}"}}')


def run_toy(
    folder: Path, models: Sequence[ToyEngine], judge: ToyEngine | None = None, *, rows: Sequence[dict[str, str]] | None = None,
    **settings: Any,
) -> tuple[AuditResult, Run, TransferAudit]:  # fmt: skip
    """Run the audit on the toy queries; the first of several models is the one that the others are compared with."""
    folder.mkdir(parents=True, exist_ok=True)
    data = write_csv(folder / "queries.csv", rows or toy_rows())
    specs = tuple(engine.spec for engine in models)
    config = make_config(**{"models": specs, "only": ("transfer",), "data": data, "draws": 200, **settings})
    audit = TransferAudit()
    plan = {"sources": audit.inputs(config), "config": config.model_dump(mode="json"), "identities": {}}
    run = Run.start(folder / "run", plan, resume=True)
    configurations = [Configuration(engine.spec, engine) for engine in models]
    result = audit.run(Context(config, configurations, judge, run, lambda what, done, total: None))
    run.write_findings({"transfer": result})
    run.release()
    return result, run, audit
