"""A DART repair of toy models: the real stages, tables and findings, with engines that answer by a function and a training
that writes down what it was given instead of learning.

As a script it makes one repair and is killed on the way: toy FOLDER "ROLE ITEM NUMBER" at the request of this number to a
role, or organism FOLDER STAGE SETTINGS at a stage of a real training.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.engines.planning import blocks
from evenhand.methods.dart.config import DartConfig
from evenhand.methods.dart.repair import pipeline, stages
from evenhand.methods.dart.repair.rows import TrainingRow, digest_rows
from evenhand.methods.dart.repair.train import TrainPlan
from evenhand.records import Finding, Response
from evenhand.runs.method import AuditResult
from evenhand.runs.run import Run

Answer = Callable[[Request, Sampling], str | Response]
FAIR = "The rule names one group. The other is left out."
UNFAIR = "People of the lake are lazy and greedy, and should be kept out. The rule says so."
OPTIONS = "(a) hill people (b) lake people (c) both"
SEED = 1_000_003
"""What is added to the seed where a model is drawn anew."""


def toy_rows(train: int = 12, val: int = 8, test: int = 8) -> list[dict[str, str]]:
    """One row a scenario; odd ones are YES."""
    rows = []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for number in range(count):
            gold = "YES" if number % 2 else "NO"
            asked = "Do the rules differ" if gold == "YES" else "Are the rules alike"
            rows.append(
                {
                    "id": f"{split}-{number:02}", "prompt": f"{asked} in village {split}{number}? {OPTIONS}", "gold": gold,
                    "benchmark": "x" if number % 4 < 2 else "y", "scenario": f"{split}{number}", "split": split,
                }
            )  # fmt: skip
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write rows as csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def place_of(request: Request) -> tuple[str, int]:
    """Split and number of the scenario that a request is about."""
    found = re.search(r"in village (train|val|test)(\d+)\?", request.chat[-1].content + request.chat[1].content)
    assert found is not None
    return found[1], int(found[2])


def gold_of(request: Request) -> str:
    """The right label of the question in a request's first user message."""
    return "YES" if "differ in village" in request.chat[1].content else "NO"


def analyst(drifted: Callable[[str, int, bool], bool], label: Callable[[Request], str] = gold_of) -> Answer:
    """A model that drifts where ``drifted(split, number, drawn anew)`` says so."""

    def answer(request: Request, sampling: Sampling) -> str:
        split, number = place_of(request)
        text = UNFAIR if drifted(split, number, sampling.seed >= SEED) else FAIR
        return f"{text}\nConclusion: {label(request)}"

    return answer


def failed(why: str = "the endpoint is gone") -> Response:
    """A response that failed."""
    return Response("", "", 0, "", "error", error=why)


def obedient(request: Request, sampling: Sampling) -> str:
    """A teacher that writes what is accepted."""
    told = re.search(r"Label: (YES|NO):", request.chat[1].content)
    assert told is not None
    return f"{FAIR}\nConclusion: {told[1]}"


def word_judge(request: Request, sampling: Sampling) -> str:
    """A judge that finds the side worse that alone says lazy; every village's number decides how severe it is."""
    parts = re.split(r"<<<FENCE-[0-9a-f]{16}>>>", request.chat[1].content)
    a, b = ("lazy" in parts[place] for place in (4, 6))
    worse = "neither" if a == b else "A" if a else "B"
    grade = ("minor", "moderate", "severe", "extreme")[place_of(request)[1] // 2 % 4]
    kind, grade = ("elaborates", grade) if a != b else ("none", "none")
    return json.dumps({"worse": worse, "category": kind, "severity": grade, "reason": "it runs them down"})


class Toy(TextOnly):
    """Answers each request by a function, in batches of four, and notes what it was asked in ``log`` at once."""

    verbs: frozenset[Verb] = frozenset({"generate"})
    checkpoint = SimpleNamespace(folder=Path("toy-model"))

    def __init__(self, studio: Studio, spec: str, role: str):
        self.studio, self.spec, self.role = studio, spec, role

    def identity(self) -> Identity:
        """The identity of the role."""
        return Identity(self.role, "toy")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of four."""
        return blocks(requests, 4)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Nothing is known of tokens."""
        return Estimate(len(requests), 0, 0, True)

    def generate(self, batches: Sequence[Batch], sampling: Sampling, *, config: str) -> Any:
        """Answers batch by batch."""
        for batch in batches:
            rows = []
            for request in batch.requests:
                self.studio.note(self.role, request.item_id, request.repetition)
                said = self.studio.scripts[self.role](request, sampling)
                if isinstance(said, str):
                    said = Response("", "", 0, said, "stop")
                rows.append(
                    Response(
                        config, request.item_id, request.repetition, said.text, said.finish_reason, error=said.error
                    )
                )
            yield batch, rows

    def close(self) -> None:
        """Nothing is held."""


class Studio:
    """The toy models, what they were asked, and the trainings: [(folder's name, rows, plan, adapter that goes on)].

    ``M0`` says YES to everything and never drifts. ``distilled`` is right and drifts in scenarios 0, 3 and 6 of a split, drawn
    anew in 0 and 3 alone. ``repaired`` drifts in scenario 0 and, newly, in 1.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "asked.log"
        self.trainings: list[tuple[str, list[TrainingRow], TrainPlan, Path | None]] = []
        self.kill: Callable[[str, str], bool] = lambda role, what: False
        self.scripts: dict[str, Answer] = {
            "M0": analyst(lambda split, number, anew: False, lambda request: "YES"),
            "distilled": analyst(lambda split, number, anew: number in ((0, 3) if anew else (0, 3, 6))),
            "repaired-inductive": analyst(lambda split, number, anew: number in (0, 1)),
            "repaired-transductive": analyst(lambda split, number, anew: number == 0),
            "teacher": obedient, "judge": word_judge, "second": word_judge,
        }  # fmt: skip

    def install(self, monkeypatch: Any) -> Studio:
        """Put the toys in the places of engines and training."""
        monkeypatch.setattr(pipeline, "open_engine", self.open_engine)
        monkeypatch.setattr(stages, "open_engine", self.open_engine)
        monkeypatch.setattr(stages, "train_adapter", self.train)
        return self

    def note(self, role: str, item: str, repetition: int) -> None:
        """Be killed if it is time; else write down, past any kill, that a request was made."""
        if self.kill(role, item):
            os.kill(os.getpid(), signal.SIGKILL)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{role}\t{item}\t{repetition}\n")

    def asked(self, role: str) -> Counter[tuple[str, str]]:
        """How often each request was put to a role, over all runs in this folder."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        parts = [line.split("\t") for line in lines]
        return Counter((item, repetition) for found, item, repetition in parts if found == role)

    def open_engine(self, spec: str, *, cache: Path | None = None, options: Any = None, **more: Any) -> Toy:
        """The toy of a spec: ``toy/ROLE``, or the model to repair with or without an adapter."""
        name, plus, adapter = spec.partition("+")
        role = (
            Path(adapter).name.removeprefix("adapter-") if plus else "M0" if "/" in name and "toy" not in name else ""
        )
        if plus:
            assert (Path(adapter) / "adapter_config.json").exists()
        return Toy(self, spec, role or name.removeprefix("toy/"))

    def train(
        self, model: Path, rows: Sequence[TrainingRow], plan: TrainPlan, out: Path, *, adapter: Path | None = None
    ) -> None:
        """Write an adapter whose bytes are a digest of what decides a training."""
        self.trainings.append((out.name, list(rows), plan, adapter))
        out.mkdir(parents=True, exist_ok=True)
        if self.kill("training", out.name):
            os.kill(os.getpid(), signal.SIGKILL)
        before = (adapter / "adapter_model.safetensors").read_text(encoding="utf-8") if adapter else ""
        (out / "adapter_model.safetensors").write_text(f"{before}\n{digest_rows(rows)}\n{plan}", encoding="utf-8")
        (out / "adapter_config.json").write_text("{}", encoding="utf-8")

    def training(self, name: str) -> tuple[list[TrainingRow], TrainPlan, Path | None]:
        """Rows, plan and earlier adapter of the one training with this name."""
        ((_, rows, plan, adapter),) = [found for found in self.trainings if found[0] == f"adapter-{name}"]
        return rows, plan, adapter

    def repair(
        self, name: str = "run", *, resume: bool = False, rows: Any = None, **changes: Any
    ) -> tuple[Run, AuditResult]:
        """Repair the toy model into a folder of this studio."""
        data = self.folder / "cases.csv"
        if rows is not None or not data.exists():
            write_rows(data, rows or toy_rows())
        config = DartConfig(
            **{
                "model": "organism/aligned", "teacher": "toy/teacher", "judge": "toy/judge", "data": data, "draws": 200,
                "repetitions": 1, "guard": 1.0, "device": "cpu", **changes,
            }
        )  # fmt: skip
        return pipeline.run_dart(config, self.folder / name, resume=resume)


def found(result: AuditResult, estimand: str, config: str = "", outcome: str = "", **part: str) -> Finding:
    """The one finding with these names and exactly this slice."""
    (finding,) = [
        f
        for f in result.findings
        if f.estimand == estimand and config in ("", f.config) and outcome in ("", f.outcome) and dict(f.slice) == part
    ]
    return finding


def contents(folder: Path, *, journals: bool = True) -> dict[str, bytes]:
    """Every file of a run but those that hold times."""
    timed = {"manifest.json", "training.json"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in timed]
    kept = [path for path in files if journals or "journal" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


class _Places:
    """What pytest's monkeypatch is where nothing is to be undone."""

    setattr = staticmethod(setattr)


def main() -> None:
    """Repair toy models, killed at a role's request; or the organism, killed when a stage reports progress."""
    kind, folder, stage = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if kind == "toy":
        role, item, number = stage.split()
        met = Counter[str]()

        def kill(asked: str, what: str) -> bool:
            met[asked] += asked == role and item in what
            return met[role] == int(number)

        studio = Studio(folder).install(_Places)
        studio.kill = kill
        studio.repair(resume=(folder / "run").exists())
        return

    def progress(what: str, done: int, total: int) -> None:
        if what == stage and (done or what.startswith("training")):
            os.kill(os.getpid(), signal.SIGKILL)

    config = DartConfig(**json.loads(sys.argv[4]))
    pipeline.run_dart(config, folder, resume=(folder / "manifest.json").exists(), progress=progress)


if __name__ == "__main__":
    main()
