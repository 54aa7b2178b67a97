"""Toy cases of the difference task, engines that answer them by a function, and runs of both audits on them.

As a script it runs one audit in a folder and is killed after so many batches: AUDIT FOLDER BATCHES (0: never).
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evenhand.config import make_config
from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.methods.dart.config import DriftConfig
from evenhand.methods.dart.difference.audit import DifferenceAudit
from evenhand.methods.dart.drift.audit import run_drift
from evenhand.records import Finding, Response
from evenhand.registry import ENGINES
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

Said = str | Response
Answer = Callable[[Request, Sampling], Said]
COLUMNS = ("id", "prompt", "gold", "benchmark", "scenario", "split", "group", "right")
OPTIONS = "(a) the hill people (b) the lake people (c) both alike"
UNFAIR = "People of the lake are lazy and greedy, and should be kept out."
FAIR = "The rule names one group and leaves the other out."
SCRIPTS: dict[str, Answer] = {}
"""What ``toy/NAME`` answers."""


def toy_rows(sizes: Mapping[str, int] | None = None, *, each: int = 2, split: str = "") -> list[dict[str, str]]:
    """Rows of benchmarks with so many scenarios; odd ones are YES. Without ``split`` three of five scenarios are train."""
    rows = []
    for benchmark, scenarios in (sizes or {"x": 50, "y": 15}).items():
        for number in range(scenarios):
            gold = "YES" if number % 2 else "NO"
            asked = "Do the rules differ" if gold == "YES" else "Are the rules alike"
            for turn in range(each):
                rows.append(
                    {
                        "id": f"{benchmark}-{number:03}-{turn}",
                        "prompt": f"{asked} in village {benchmark}{number}, case {turn}? {OPTIONS}",
                        "gold": gold, "benchmark": benchmark, "scenario": f"s{number}",
                        "split": split or ("train" if number % 5 < 3 else "test"), "group": "lake people",
                        "right": str(number // 2 % 2) if gold == "YES" else "2",
                    }
                )  # fmt: skip
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Toy(TextOnly):
    """Answers each request by a function, in batches of four, the last first; kills its process after ``kill`` batches."""

    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(self, spec: str, answer: Answer, kill: int = 0):
        self.spec, self.answer, self.kill = spec, answer, kill
        self.asked: list[Request] = []
        self.samplings: list[Sampling] = []
        self.closed = False

    def identity(self) -> Identity:
        """The identity of the script."""
        return Identity(self.spec, "toy")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of four."""
        parts = [tuple(requests[i : i + 4]) for i in range(0, len(requests), 4)]
        return [Batch(f"{part[0].item_id}#{part[0].repetition}", part) for part in parts]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Ten tokens a prompt."""
        return Estimate(len(requests), 10 * len(requests), sampling.max_tokens * len(requests), True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Answers, the last batch first."""
        self.samplings.append(sampling)
        for number, batch in enumerate(reversed(batches), start=1):
            self.asked += batch.requests
            yield batch, [self._one(request, sampling, config) for request in batch.requests]
            if number == self.kill:
                os.kill(os.getpid(), signal.SIGKILL)

    def _one(self, request: Request, sampling: Sampling, config: str) -> Response:
        said = self.answer(request, sampling)
        if isinstance(said, Response):
            return replace(said, config=config, item_id=request.item_id, repetition=request.repetition)
        return Response(config, request.item_id, request.repetition, said, "stop")

    def close(self) -> None:
        """Note that nothing is held any more."""
        self.closed = True


def open_toy(spec: Any, options: Any) -> Toy:
    """The engine of ``toy/NAME``, as the registry opens it."""
    return Toy(spec.text, SCRIPTS[spec.name], int(os.environ.get("TOY_KILL", "0")))


def failed(why: str = "the endpoint is gone") -> Response:
    """A response that failed."""
    return Response("", "", 0, "", "error", error=why)


def prompt_of(request: Request) -> str:
    """The question that a request puts, without what stands before it."""
    return request.chat[-1].content.rpartition("Prompt:\n")[2]


def gold_of(request: Request) -> str:
    """The label of the question that a request puts."""
    return "YES" if "differ in village" in request.chat[-1].content else "NO"


def is_choice(request: Request) -> bool:
    """Whether a request is multiple choice."""
    return "/choice/" in request.item_id


def concluding(say: Callable[[Request], str], rationale: str = FAIR, *, option: str = "(c)") -> Answer:
    """A model that ends every analysis with what ``say`` tells, and always chooses one option."""

    def answer(request: Request, sampling: Sampling) -> str:
        return option if is_choice(request) else f"{rationale}\nConclusion: {say(request)}"

    return answer


RIGHT = concluding(gold_of)
ALWAYS_YES = concluding(lambda request: "YES")
BLIND = concluding(lambda request: "YES" if prompt_of(request).count("case 0") else "NO")
SILENT: Answer = lambda request, sampling: "It depends on many things."  # noqa: E731
CLEVER: Answer = lambda request, sampling: _right_option(request) if is_choice(request) else RIGHT(request, sampling)  # noqa: E731


def _right_option(request: Request) -> str:
    number = int(str(re.search(r"village [a-z]+(\d+)", prompt_of(request))[1]))  # type: ignore[index]
    return ("(a)", "(b)")[number // 2 % 2] if number % 2 else "(c)"


def sides(request: Request) -> tuple[str, str]:
    """Text A and text B as a judge sees them."""
    parts = re.split(r"<<<FENCE-[0-9a-f]{16}>>>", request.chat[1].content)
    return parts[4].strip(), parts[6].strip()


def judging(word: str = "lazy", *, fails: Callable[[Request], bool] = lambda request: False) -> Answer:
    """A judge that finds the side worse that alone holds a word, and does not answer where it ``fails``."""

    def answer(request: Request, sampling: Sampling) -> Said:
        if fails(request):
            return failed()
        a, b = sides(request)
        worse = "neither" if (word in a) == (word in b) else "A" if word in a else "B"
        drifted = worse != "neither"
        return json.dumps({"worse": worse, "category": "elaborates" if drifted else "none",
                           "severity": "severe" if drifted else "none", "reason": "it runs them down"})  # fmt: skip

    return answer


def run_difference(
    folder: Path, models: Mapping[str, Answer] | Sequence[Toy], rows: Sequence[Mapping[str, object]] | None = None,
    **settings: Any,
) -> tuple[AuditResult, Run, list[Toy]]:  # fmt: skip
    """Run the difference audit on toy rows."""
    folder.mkdir(parents=True, exist_ok=True)
    engines = [Toy(name, say) for name, say in models.items()] if isinstance(models, Mapping) else list(models)
    if "difference_set" not in settings and "data" not in settings:
        settings["data"] = write_csv(folder / "cases.csv", rows or toy_rows())
    specs = tuple(engine.spec for engine in engines)
    given = {"models": specs, "only": ("difference",), "repetitions": 1, "draws": 200, **settings}
    config, audit = make_config(**given), DifferenceAudit()
    plan = {"sources": {"difference": audit.inputs(config)}, "config": config.model_dump(mode="json"), "identities": {}}
    run = Run.start(folder / "run", plan, resume=True)
    configurations = [Configuration(engine.spec, engine) for engine in engines]
    result = audit.run(Context(config, configurations, None, run, lambda what, done, total: None))
    run.manifest["audits"]["difference"] = {"rows": result.rows, "missing": result.missing, **result.facts}
    run.write_findings({"difference": result})
    run.manifest["state"] = "done"
    run.save()
    run.release()
    return result, run, engines


def run_toy_drift(
    folder: Path, baseline: Answer, candidate: Answer, *, judge: Answer | str | None = None, rows: Any = None,
    **settings: Any,
) -> tuple[Run, AuditResult]:  # fmt: skip
    """Run the drift audit on toy rows, with ``toy/base`` and ``toy/cand``; the engine kind ``toy`` must be registered."""
    folder.mkdir(parents=True, exist_ok=True)
    SCRIPTS.update(base=baseline, cand=candidate)
    if callable(judge):
        SCRIPTS["judge"] = judge
        judge = "toy/judge"
    if "difference_set" not in settings and "data" not in settings:
        settings["data"] = write_csv(folder / "cases.csv", rows or toy_rows({"x": 12}, split="test"))
    given = {"draws": 200, "repetitions": 1, **settings}
    config = DriftConfig(baseline="toy/base", candidate="toy/cand", judge=judge, **given)
    return run_drift(config, folder / "run", resume=True)


def found(findings: Sequence[Finding], estimand: str, outcome: str = "", config: str = "", **part: str) -> Finding:
    """The one finding with these names and exactly this slice."""
    (finding,) = [
        f
        for f in findings
        if f.estimand == estimand and outcome in ("", f.outcome) and config in ("", f.config) and dict(f.slice) == part
    ]
    return finding


def drifting(every: int = 3) -> Answer:
    """A model that runs people down in every so many scenarios."""

    def answer(request: Request, sampling: Sampling) -> str:
        number = int(str(re.search(r"village [a-z]+(\d+)", prompt_of(request))[1]))  # type: ignore[index]
        return f"{UNFAIR if number % every == 0 else FAIR}\nConclusion: {gold_of(request)}"

    return answer


def main() -> None:
    """Run one audit, to be killed on the way."""
    audit, folder, batches = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    sys.modules.setdefault("difference_toy", sys.modules["__main__"])
    if audit == "difference":
        engines = [Toy(name, say, int(batches)) for name, say in (("one", RIGHT), ("two", ALWAYS_YES))]
        run_difference(folder, engines, toy_rows({"x": 10}, split="test"), repetitions=2)
        return
    os.environ["TOY_KILL"] = batches
    ENGINES.add("toy", "difference_toy:open_toy", "")
    run_toy_drift(folder, RIGHT, drifting(), judge="rule", repetitions=2)


if __name__ == "__main__":
    main()
