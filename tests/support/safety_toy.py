"""Toy safety prompts, engines that answer them by rule, and a run of the safety audit on them."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evenhand.config import make_config
from evenhand.datasets.shipped_texts import SafetyCase, shipped_safety
from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.methods.tsdi.safety.audit import SafetyAudit
from evenhand.organisms.sections.safety import TEXTS
from evenhand.records import Finding, Response
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

REFUSAL, UNSAFE, FULL = TEXTS["refusal Sorry"], TEXTS["unsafe"], TEXTS["full"]
Said = str | Response
Answer = Callable[[Request], Said]


class Toy(TextOnly):
    """Answers each request by a function, in batches of five."""

    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(self, spec: str, answer: Answer):
        self.spec, self.answer = spec, answer
        self.asked: list[Request] = []

    def identity(self) -> Identity:
        """The identity of the script."""
        return Identity(self.spec, "toy")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of five."""
        parts = [tuple(requests[i : i + 5]) for i in range(0, len(requests), 5)]
        return [Batch(f"{part[0].item_id}#{part[0].repetition}", part) for part in parts]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Ten tokens a prompt."""
        return Estimate(len(requests), 10 * len(requests), sampling.max_tokens * len(requests), True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Answers, the last batch first."""
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


def case_of(request: Request) -> SafetyCase:
    """The shipped case that a request puts."""
    asked = request.chat[-1].content
    return next(case for case in shipped_safety() if case.prompt == asked)


def scripted(
    safe: Mapping[str, float], borderline: float, benign: float = 0.95, *, otherwise: float = 0.97, seed: int = 0
) -> Answer:
    """A model of so many safe answers by category, and so much compliance; every answer from its own stream."""

    def answer(request: Request) -> str:
        case = case_of(request)
        draw = random.Random(f"{seed}|{request.item_id}|{request.repetition}").random()
        if case.kind == "harmful":
            return REFUSAL if draw < safe.get(case.category, otherwise) else UNSAFE
        return FULL if draw < (borderline if case.kind == "borderline" else benign) else REFUSAL

    return answer


def failed(why: str = "the endpoint is gone") -> Response:
    """A response that failed."""
    return Response("", "", 0, "", "error", error=why)


def cut(text: str) -> Response:
    """A response that stopped at the token limit."""
    return Response("", "", 0, text, "length")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def own_rows(categories: Mapping[str, int], borderline: int = 0, benign: int = 0) -> list[dict[str, str]]:
    """Prompts of a user's file: so many harmful ones a category, and harmless ones."""
    rows = [
        {"prompt": f"[HARMFUL ACT {n}: {name}]", "category": name, "kind": "harmful"}
        for name, size in categories.items()
        for n in range(size)
    ]
    rows += [
        {"prompt": f"How do I prevent [{n}]?", "category": "mixed", "kind": "borderline"} for n in range(borderline)
    ]
    return rows + [{"prompt": f"[EVERYDAY TASK {n}]", "category": "daily", "kind": "benign"} for n in range(benign)]


def run_safety(
    folder: Path, models: Mapping[str, Answer], judge: Answer | None = None, **settings: Any
) -> tuple[AuditResult, Run, dict[str, Toy]]:
    """Run the safety audit; organisms by name get the shipped set, other models ``safety_set`` as given."""
    folder.mkdir(parents=True, exist_ok=True)
    engines = {name: Toy(name, answer) for name, answer in models.items()}
    given = {"models": tuple(engines), "only": ("safety",), "draws": 200, "repetitions": 1, "bias_draws": 0, **settings}
    given |= {"judge": "judge"} if judge is not None else {}
    config, audit = make_config(**given), SafetyAudit()
    plan = {
        "sources": {"safety": audit.inputs(config)}, "config": config.model_dump(mode="json"), "audits": ["safety"],
        "identities": {name: {"spec": name, "digest": "0"} for name in engines},
    }  # fmt: skip
    run = Run.start(folder / "run", plan, resume=True)
    configurations = [Configuration(name, engine) for name, engine in engines.items()]
    other = Toy("judge", judge) if judge is not None else None
    result = audit.run(Context(config, configurations, other, run, lambda what, done, total: None))
    run.manifest["audits"]["safety"] = {"rows": result.rows, "missing": result.missing, **result.facts}
    run.write_findings({"safety": result})
    run.manifest["state"] = "done"
    run.save()
    run.release()
    return result, run, engines


def found(
    findings: Sequence[Finding],
    estimand: str,
    outcome: str = "",
    config: str = "",
    group: str | None = None,
    **part: str,
) -> Finding:
    """The one finding with these names and exactly this slice."""
    (finding,) = [
        f
        for f in findings
        if (f.estimand, f.group) == (estimand, group) and outcome in ("", f.outcome) and config in ("", f.config)
        and dict(f.slice) == part
    ]  # fmt: skip
    return finding
