"""The long commands that are killed, at sizes of which an unbroken run takes seconds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torture_parts.kit import Place
from torture_parts.processes import Zygote

MODULES = ("torch", "transformers", "evenhand.runs.runner", "evenhand.report.build", "trl", "peft")
"""What the forking process imports before the first command."""
NO_CACHE = {"EVENHAND_CACHE": ""}
_AUDIT = "audit organism/aligned --only {} --draws 200 "


@dataclass(frozen=True)
class Long:
    """A command whose output folder is ``run``. One that cannot be resumed is begun again in the same or an emptied folder."""

    name: str
    words: str
    resumable: bool = True
    prepare: Callable[[Path, Place], None] | None = None

    def argv(self, *, resume: bool) -> list[str]:
        """The command line."""
        return [*self.words.split(), "--out", "run", *(["--resume"] if resume and self.resumable else [])]


def lines_of_the_grammar(folder: Path, place: Place) -> None:
    """``in.jsonl``: a few lines of the curator's grammar, of two domains and of none."""
    from evenhand.datasets.shipped_texts import grammar_lines
    from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS

    chosen = [line for line in grammar_lines() if line.domain in (SLUGS[7], SLUGS[10], NONE)][:12]
    rows = [json.dumps({"id": line.id, "text": line.text}) for line in chosen]
    (folder / "in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def many_lines(folder: Path, place: Place) -> None:
    """``in.jsonl``: 20,000 texts, many of them near-duplicates of each other."""
    draw = place.random("dedup")
    words = [f"{a}{b}" for a in ("gar", "lo", "mi", "ter", "vo", "pla") for b in ("den", "ra", "sk", "tel", "ume", "x")]
    with (folder / "in.jsonl").open("w", encoding="utf-8") as file:
        base: list[str] = []
        for row in range(20_000):
            if row % 4 == 0 or not base:
                base = draw.choices(words, k=14)
            text = [*base]
            text[draw.randrange(len(text))] = draw.choice(words)
            file.write(json.dumps({"id": str(row), "text": " ".join(text)}) + "\n")


def built_corpus(folder: Path, place: Place) -> None:
    """``built``: a corpus whose thresholds are swept; made once, then copied."""
    made = place.scratch / "built"
    if not made.exists():
        work = place.scratch / "building"
        work.mkdir()
        lines_of_the_grammar(work, place)
        build = next(long for long in LONG if long.name == "corpus build")
        with Zygote(place.scratch / "builder", *MODULES[:3]) as zygote:
            done = zygote.run(build.argv(resume=False), work, env=NO_CACHE, limit=600.0)
        if done.code != 0:
            raise RuntimeError(f"the corpus that is to be swept cannot be built:\n{done.text[-2000:]}")
        shutil.move(work / "run", made)
    shutil.copytree(made, folder / "built")


LONG = (
    Long("audit service", _AUDIT.format("service") + "--limit 64 --repetitions 2 --max-tokens 40 --batch-tokens 2048"),
    Long("audit reward", _AUDIT.format("reward") + "--pair-set binary"),
    Long("audit difference", _AUDIT.format("difference") + "--limit 24"),
    Long("audit affirmation", _AUDIT.format("affirmation") + "--limit 24 --repetitions 2"),
    Long("audit safety", _AUDIT.format("safety") + "--limit 24 --repetitions 2 --bias-draws 32"),
    Long("audit pluralism", _AUDIT.format("pluralism") + "--rating-items 6 --permutations 99 --reml-draws 0"),
    Long("audit transfer", _AUDIT.format("transfer") + "--limit 24"),
    Long("stages", "stages --base organism/base --sft organism/sft --draws 200 --pair-set binary"),
    Long("drift", "drift organism/sft organism/aligned --judge rule --limit 12 --draws 200 --repetitions 1"),
    Long("rate", "rate organism/aligned --rating-items 6 --permutations 99 --draws 200 --reml-draws 0"),
    Long(
        "corpus build",
        "corpus build in.jsonl --classifier organism/curator --generator organism/curator --floor 8 --attempts 3 "
        "--expand self_harm --expand misinformation_regarding_ethics,laws_and_safety",
        prepare=lines_of_the_grammar,
    ),
    Long("corpus dedup", "corpus dedup in.jsonl", resumable=False, prepare=many_lines),
    Long("corpus sweep", "corpus sweep built --deltas 0.9 --taus 3 --draws 200", resumable=False, prepare=built_corpus),
    Long("repair tsdi", "repair tsdi organism/aligned --draws 64 --fixed --length 3 --limit 24 --repetitions 1"),
    Long(
        "repair dart",
        "repair dart organism/aligned --teacher scripted --judge rule --second echo --protocol both --batch 16 --accumulation 1 "
        "--rate 5e-3 --repair-rate 2e-3 --distil-cap 2 --guard 0.05 --max-tokens 64 --limit 16 --repetitions 1 --draws 200",
    ),
    Long(
        "sweep tsdi",
        "sweep tsdi organism/aligned --alpha 0.5,1 --length 1,2 --peers system --repetitions 1 --limit 12 --contexts 32 "
        "--draws 200",
    ),
)
