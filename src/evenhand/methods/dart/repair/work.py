"""What the stages of DART share: the run, its cases, its models, and how each stage finds what it has finished already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from evenhand.engines.base import Engine
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.methods.dart.difference.data.cases import Case
from evenhand.methods.dart.drift.audit import draw
from evenhand.methods.dart.drift.outputs import Outputs, pair_up
from evenhand.methods.dart.drift.table import Auditor, drift_table
from evenhand.methods.dart.repair.config import DartConfig
from evenhand.methods.dart.repair.teacher import Teacher
from evenhand.runs.respond import Progress
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table, write_table

AUDIT = "dart"
M0, DISTILLED = "M0", "distilled"
AGAIN = 1_000_003
"""Added to the seed where a model is drawn anew: the null control and the no-op repair."""


def repaired_name(protocol: str) -> str:
    """The name of a repaired model in every table."""
    return f"repaired ({protocol})"


@dataclass
class Work:
    """One repair under way. ``splits`` holds the cases by split; ``adapters`` the trained adapter of each model but M0."""

    run: Run
    config: DartConfig
    splits: Mapping[str, Sequence[Case]]
    teacher: Teacher
    auditor: Auditor
    options: EngineOptions
    progress: Progress
    cache: Path | None = None
    adapters: dict[str, Path] = field(default_factory=dict)
    own_judge: bool = False
    """Teacher and judge are the same model."""
    _outputs: dict[tuple[str, str, int], Outputs] = field(default_factory=dict)

    def path(self, *parts: str) -> Path:
        """A path of the repair inside the run folder."""
        return self.run.folder.joinpath(AUDIT, *parts)

    def table(self, name: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """A finished table as it stands, or a new one, written before it is used."""
        path = self.run.table(AUDIT, name)
        if not path.exists():
            write_table(path, make())
        return read_table(path)

    def spec(self, name: str) -> str:
        """The engine spec of a model by its name."""
        return self.config.model if name == M0 else f"{self.config.model}+{self.adapters[name]}"

    def outputs(self, name: str, split: str, again: int = 0) -> Outputs:
        """A model's outputs on a split; ``again`` draws them anew under another seed. Drawn once, journaled, kept."""
        key = (name, split, again)
        if key not in self._outputs:
            config = self.config
            sampling = config.sampling.model_copy(update={"seed": config.seed + again})
            stage = f"outputs-{_slug(name)}-{split}" + ("-again" if again else "")
            engine: Engine = open_engine(self.spec(name), cache=None, options=self.options)
            try:
                self._outputs[key] = draw(
                    engine, name, self.splits[split], sampling, config.draws_per_item, self.run, AUDIT, stage, self.progress,
                    policy=config.policy,
                )  # fmt: skip
            finally:
                engine.close()
        return self._outputs[key]

    def drift(self, name: str, split: str, again: int = 0) -> pl.DataFrame:
        """The table of pairs of M0 and a model on a split. ``again`` draws the model anew."""
        cases = self.splits[split]
        a = self.outputs(M0, split)
        b = self.outputs(name, split, again)

        def made() -> pl.DataFrame:
            # Drawn anew, a model differs in its seed alone; the check of equal decoding is for everything else.
            other = Outputs(b.label, b.rows, None) if again else b
            return drift_table(cases, a, other, pair_up(cases, a, other), self.auditor)

        return self.table(f"pairs-{_slug(name)}-{split}" + ("-again" if again else ""), made)


def _slug(name: str) -> str:
    return name.replace(" (", "-").replace(")", "")
