"""A TSDI sweep of toy models: the real settings, journals, tables and findings, with engines that answer by a function.

Each prompt has a threshold of its own, alike in every setting; what a setting does to a model is how far it moves the model's push
to refuse. As a script it makes one sweep and is killed on the way: FOLDER "CONFIG NUMBER", at the request of this number to a
setting.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from xxhash import xxh64_intdigest

from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.engines.planning import blocks
from evenhand.engines.token_bias import BiasHeader, TokenBias, write_token_bias
from evenhand.methods.tsdi.config import SweepConfig, TsdiConfig
from evenhand.methods.tsdi.sweep import run as sweep
from evenhand.organisms.sections.safety import TEXTS
from evenhand.records import Finding, Response
from evenhand.runs.method import AuditResult
from evenhand.runs.run import Run

Answer = Callable[[Request, str], "str | Response"]
VOCABULARY = 6
CATEGORIES = ("animal_abuse", "privacy_violation", "self_harm", "terrorism,organized_crime")
TAKEN = re.compile(r"(?P<model>[^+]+)(?:\+tsdi:.*\?alpha=(?P<alpha>[\d.e-]+)&length=(?P<length>\d+))?")


def uniform(*parts: object) -> float:
    """A number in (0, 1) that depends on its arguments alone."""
    return (xxh64_intdigest("/".join(map(str, parts)).encode()) + 0.5) / 2**64


def write_prompts(path: Path, *, each: int = 12, categories: Sequence[str] = CATEGORIES) -> Path:
    """A file of prompts: ``each`` harmful ones a category, and as many benign and borderline ones in all as one category has."""
    rows = ["id,prompt,category,kind"]
    for at, category in enumerate(categories):
        rows += [f'h{at}-{k:02},Harmful request {at} {k},"{category}",harmful' for k in range(each)]
    rows += [f"b-{k:02},Benign request {k},cooking,benign" for k in range(each)]
    rows += [f"p-{k:02},Borderline request {k},privacy,borderline" for k in range(each)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def bias_header(config: TsdiConfig, length: int) -> BiasHeader:
    """A header that fits the toys."""
    return BiasHeader(
        length=length, vocabulary=VOCABULARY, draws=64, pool=config.pool, pool_digest="0" * 32, pool_size=1000,
        prompt_lengths=(8, 64), seed=0, tokenizer="t", template="p", aligned={"spec": config.model},
        reference={"spec": config.reference or "organism/sft"}, evenhand="0",
    )  # fmt: skip


def bias_of(config: TsdiConfig, rows: int = 2) -> TokenBias:
    """A bias of as many positions as asked, zero after the first ``rows``; another pool gives another bias."""
    table = np.zeros((config.length, VOCABULARY), dtype=np.float32)
    table[:rows, 1] = 2.0 + 0.01 * uniform("pool", config.pool)
    empty = np.zeros_like(table)
    return TokenBias(bias_header(config, config.length), table, empty + 0.01, empty + 0.1, empty + 0.1)


class Toy(TextOnly):
    """Answers each request by a function, in batches of eight, and notes what it was asked in ``log`` at once."""

    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(self, studio: Studio, spec: str, refusing: float = 0.0):
        self.studio, self.spec, self.refusing = studio, spec, refusing

    def identity(self) -> Identity:
        """The identity of the model."""
        return Identity(self.spec, self.spec.partition("+")[0], "t", "p")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of eight."""
        return blocks(requests, 8)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Nothing is known of tokens."""
        return Estimate(len(requests), 0, 0, True)

    def generate(self, batches: Sequence[Batch], sampling: Sampling, *, config: str) -> Any:
        """Answers batch by batch."""
        for batch in batches:
            rows = []
            for request in batch.requests:
                self.studio.note(config, request.item_id, request.repetition)
                said = self.studio.answer(self, request, config)
                said = Response("", "", 0, said, "stop") if isinstance(said, str) else said
                rows.append(
                    Response(
                        config, request.item_id, request.repetition, said.text, said.finish_reason, error=said.error
                    )
                )
            yield batch, rows

    def close(self) -> None:
        """Nothing is held."""


class Studio:
    """The toy models and what they were asked.

    ``push`` is how much a model is pushed to refuse, whatever the prompt (nats); TSDI takes off ``alpha`` of it over two tokens,
    the first of which carries 3/4. ``weak`` is the category in which refusals are not earned by the prompt.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "asked.log"
        self.push = {"organism/aligned": 2.0, "organism/sft": 0.0}
        self.earned = {"organism/aligned": 6.0, "organism/sft": 0.5}
        self.weak = "privacy_violation"
        self.rows = 2
        self.kill: Callable[[str], bool] = lambda config: False
        self.prompts: dict[str, str] = {}
        self.judge: Answer = scores
        self.answer: Callable[[Toy, Request, str], str | Response] = self.by_threshold
        self.estimates: list[str] = []

    def install(self, monkeypatch: Any) -> Studio:
        """Put the toys in the places of engines, peers and estimates."""
        monkeypatch.setattr(sweep, "open_engine", self.open_engine)
        monkeypatch.setattr(sweep, "open_engine", self.open_engine)
        monkeypatch.setattr(sweep, "open_models", self.open_models)
        monkeypatch.setattr(sweep, "open_peer", self.open_peer)
        monkeypatch.setattr(sweep, "Prepared", self.prepare)
        monkeypatch.setattr(sweep, "estimate_tsdi", self.estimate)
        return self

    def note(self, config: str, item: str, repetition: int) -> None:
        """Be killed if it is time; else write down, past any kill, that a request was made."""
        if self.kill(config):
            os.kill(os.getpid(), signal.SIGKILL)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{config}\t{item}\t{repetition}\n")

    def asked(self) -> Counter[str]:
        """How many requests each setting answered, over all runs in this folder."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return Counter(line.split("\t")[0] for line in lines)

    def by_threshold(self, toy: Toy, request: Request, config: str) -> str | Response:
        """A refusal where the model's push is above the prompt's threshold."""
        if config == "judge":
            return self.judge(request, config)
        model = toy.spec.partition("+")[0]
        chance = uniform(request.item_id, request.repetition)
        text = request.chat[-1].content
        if text.startswith("Harmful"):
            weak = self.weak in self.prompts.get(text, "")
            strength = toy.refusing + (0.0 if weak else self.earned.get(model, 3.0))
            return TEXTS["refusal I"] if chance < sigmoid(strength) else TEXTS["unsafe"]
        if chance < sigmoid(toy.refusing - 1.5):
            return TEXTS["refusal Sorry"]
        return TEXTS["brief"] if chance > 0.75 else TEXTS["full"]

    def open_engine(self, spec: str, *, cache: Path | None = None, options: Any = None, **more: Any) -> Toy:
        """The toy of a spec, with the bias taken off."""
        found = TAKEN.match(spec)
        assert found is not None
        push = self.push.get(found["model"], 2.0)
        if found["alpha"] is not None:
            share = 0.75 if int(found["length"]) == 1 or self.rows == 1 else 1.0
            push -= push * share * float(found["alpha"])
        return Toy(self, spec, push)

    def open_models(self, config: TsdiConfig) -> Any:
        """Model and reference."""
        both = [self.open_engine(spec) for spec in (config.model, config.reference or "organism/sft")]
        return SimpleNamespace(aligned=both[0], reference=both[1], close=lambda: None)

    def open_peer(self, name: str, aligned: Toy, *, strength: float, reference: Any = None, prompt: Any = None) -> Toy:
        """A peer: it takes off a push too, but on harmful prompts it takes twice as much of what was earned."""
        assert (reference is not None) == (name == "interpolation")
        return Toy(self, f"{aligned.spec}+peer-{name}-{strength:g}", aligned.refusing - 0.4 * strength)

    def prepare(self, config: TsdiConfig) -> Any:
        """What an estimate begins with."""
        self.estimates.append(f"{config.model} {config.pool} {config.length}")
        return SimpleNamespace(config=config, models=SimpleNamespace(close=lambda: None))

    def estimate(self, prepared: Any, folder: Path, progress: Any) -> TokenBias:
        """The toy bias, written where the real one would be."""
        bias = bias_of(prepared.config, self.rows)
        progress("contexts", 1, 1)
        write_token_bias(folder / "bias", bias)
        return bias

    def sweep(
        self, name: str = "run", *, resume: bool = False, each: int = 12, **changes: Any
    ) -> tuple[Run, AuditResult]:
        """Sweep the toy models into a folder of this studio."""
        config = self.config(each=each, **changes)
        return sweep.run_sweep(config, self.folder / name, resume=resume)

    def config(self, *, each: int = 12, **changes: Any) -> SweepConfig:
        """Settings of a small sweep over this studio's prompts."""
        data = self.folder / "prompts.csv"
        if not data.exists():
            write_prompts(data, each=each)
        for at, category in enumerate(CATEGORIES):
            self.prompts |= {f"Harmful request {at} {k}": category for k in range(1000)}
        return SweepConfig(
            **{
                "model": "organism/aligned", "safety_set": (str(data),), "safety_grader": ("grammar",), "draws": 200,
                "alpha": (0.5, 1.0), "length": (1, 2), "repetitions": 2, "device": "cpu", **changes,
            }
        )  # fmt: skip


def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-x))


def scores(request: Request, config: str) -> str:
    """A judge that scores full answers 9, brief ones 6 and refusals 2, on whichever side."""
    parts = re.split(r"<<<FENCE-[0-9a-f]{16}>>>", request.chat[1].content)
    worth = {TEXTS["full"]: 9, TEXTS["full I"]: 9, TEXTS["brief"]: 6}
    return " ".join(str(worth.get(parts[place].strip(), 2)) for place in (4, 6))


def failed(why: str = "out of memory") -> Response:
    """A response that failed."""
    return Response("", "", 0, "", "error", error=why)


def found(result: AuditResult, estimand: str, outcome: str, config: str, **part: str) -> Finding:
    """The one finding with these names and exactly this slice; ``reference`` may be given too."""
    reference = part.pop("reference", None)
    (finding,) = [
        f
        for f in result.findings
        if (f.estimand, f.outcome, f.config) == (estimand, outcome, config)
        and dict(f.slice) == part
        and reference in (None, f.reference)
    ]
    return finding


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run but the manifest, which holds times."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("manifest.json", ".lock", "report.html")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class _Places:
    """What pytest's monkeypatch is where nothing is to be undone."""

    setattr = staticmethod(setattr)


def main() -> None:
    """Sweep, killed at a setting's request of this number."""
    folder, stage = Path(sys.argv[1]), sys.argv[2]
    config, number = stage.split()
    met = 0

    def kill(asked: str) -> bool:
        nonlocal met
        met += asked == config
        return asked == config and met == int(number)

    studio = Studio(folder).install(_Places)
    studio.kill = kill
    studio.sweep(resume=(folder / "run").exists())


if __name__ == "__main__":
    main()
