"""The stages of DART: what the teacher wrote, what is trained on it, which cases drifted, and their repair.

`Work` holds what they share: the run, its cases and models, and how a stage finds what it has finished already.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from evenhand.datasets.question_texts import task_chat
from evenhand.engines.base import Engine
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.errors import EngineError
from evenhand.methods.dart.config import DartConfig
from evenhand.methods.dart.difference.answers import parse_tolerant
from evenhand.methods.dart.difference.cases import Case, Gold
from evenhand.methods.dart.drift.audit import draw
from evenhand.methods.dart.drift.harm import harm_measures
from evenhand.methods.dart.drift.judge import SEVERITIES, Comparison
from evenhand.methods.dart.drift.pairs import Auditor, Outputs, drift_table, pair_up
from evenhand.methods.dart.repair.rows import TrainingRow, weigh
from evenhand.methods.dart.repair.teacher import Teacher, TeacherRow, rows_frame, teach
from evenhand.methods.dart.repair.train import TrainPlan, launch, train_adapter
from evenhand.runs.respond import Progress
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table, write_table

AUDIT = "dart"
M0, DISTILLED = "M0", "distilled"


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
        """A table from an earlier start of the run, or a new one, written before it is used."""
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
            stage = f"outputs-{slug(name)}-{split}" + ("-again" if again else "")
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

        return self.table(f"pairs-{slug(name)}-{split}" + ("-again" if again else ""), made)


def slug(name: str) -> str:
    """A model's name in the names of its files."""
    return name.replace(" (", "-").replace(")", "")


def distilled(work: Work) -> pl.DataFrame:
    wanted = [(case, _label(work, case)) for case in work.splits["train"]]
    labelled = [(case, gold) for case, gold in wanted if gold is not None]
    journal = work.run.journal(AUDIT, "teacher-distil")
    explanations = teach(
        work.teacher, labelled, "distil", journal, progress=lambda d, n: work.progress("teacher · distil", d, n)
    )
    return _complete(work, explanations)


def _complete(work: Work, rows: Sequence[TeacherRow]) -> pl.DataFrame:
    """The teacher's table. Raises EngineError where more requests failed than the settings allow: a resumed run asks them again."""
    failed = sum("teacher failed" in row.violations for row in rows)
    if failed > work.config.max_failed * len(rows):
        raise EngineError(
            f"The teacher {work.teacher.name} failed on {failed} of {len(rows)} requests. What it answered is kept; continue with "
            "--resume, or allow more with --max-failed."
        )
    return rows_frame(rows)


def _label(work: Work, case: Case) -> Gold | None:
    """The label that the teacher is given: the right one, or as an ablation the model's own first answer."""
    if work.config.ablation != "predicted_labels":
        return case.gold
    return parse_tolerant(work.outputs(M0, "train").rows[case.id, 0].text)


def training_rows(
    work: Work, table: pl.DataFrame, task: str, severity: dict[str, str] | None = None
) -> list[TrainingRow]:
    """Accepted targets as training rows, with the student's own chat; the ablation's harm penalty becomes a weight."""
    prompts = {case.id: case.prompt for cases in work.splits.values() for case in cases}
    accepted = table.filter(pl.col("accepted"))
    weight = [1.0] * accepted.height
    if work.config.ablation == "harm_penalty" and accepted.height:
        harm = harm_measures(accepted["target"].to_list(), work.auditor.scorers).h
        weight = [max(0.0, 1.0 - work.config.penalty * float(value)) for value in harm]
    return [
        TrainingRow(
            row["case"], task_chat(prompts[row["case"]]), row["target"], w, (severity or {}).get(row["case"], ""),
            "repair" if task == "repair" else "distil",
        )
        for row, w in zip(accepted.iter_rows(named=True), weight, strict=True)
        if w > 0
    ]  # fmt: skip


def trained(work: Work, base: Path, rows: Sequence[TrainingRow], name: str, rate: float, adapter: Path | None) -> Path:
    config = work.config
    out = work.path(f"adapter-{name}")
    cpu = config.device == "cpu" or (config.device == "auto" and not _has_cuda())
    plan = TrainPlan(
        epochs=config.epochs, rate=rate, batch=config.batch, accumulation=config.accumulation, rank=config.rank,
        alpha=2 * config.rank, max_tokens=config.context, seed=config.seed, cpu=cpu,
    )  # fmt: skip
    work.progress(f"training · {name}", 0, 1)
    if config.launcher:
        launch(config.launcher, base, rows, plan, out, adapter=adapter)
    else:
        train_adapter(base, rows, plan, out, adapter=adapter)
    work.progress(f"training · {name}", 1, 1)
    return out.resolve()


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _pool(work: Work, split: str) -> pl.DataFrame:
    """Drifted cases of a split, one row a case with its worst severity, the worst first."""
    grade = {name: rank for rank, name in enumerate(SEVERITIES)}
    pairs = work.drift(DISTILLED, split).filter(pl.col("drift").fill_null(False))
    if work.config.ablation == "random_rows":
        count = pairs["case"].n_unique()
        with_pair = set(
            work.drift(DISTILLED, split)["case"]
        )  # without a pair there is nothing to test a target against
        audited = [case for case in work.splits[split] if case.id in with_pair]
        chosen = random.Random(work.config.seed).sample(audited, count)
        return pl.DataFrame({"case": [case.id for case in chosen], "severity": [""] * len(chosen)},
                            schema={"case": pl.String, "severity": pl.String})  # fmt: skip
    worst = pairs.with_columns(rank=pl.col("severity").replace_strict(grade, default=0, return_dtype=pl.Int8))
    return (
        worst.sort(["rank", "delta", "case"], descending=[True, True, False], nulls_last=True)
        .unique("case", keep="first", maintain_order=True)
        .select("case", "severity")
    )


def repaired(
    work: Work, protocol: str, distil: Sequence[TrainingRow], weights: dict[str, float], base: Path
) -> dict[str, Any]:
    """One protocol's repair: pool, targets, weights, training, and the guard on validation accuracy."""
    config = work.config
    split = "test" if protocol == "transductive" else "val"
    name = repaired_name(protocol)
    pool = work.table(f"pool-{protocol}", lambda: _pool(work, split))
    unknown = work.drift(DISTILLED, split)["drift"].null_count()
    state: dict[str, Any] = {"split": split, "pool": pool.height, "unknown_pairs": unknown}
    if pool.is_empty():
        what = f"no pair is known to have drifted, and {unknown} have no verdict" if unknown else "nothing drifted"
        return {**state, "status": f"{what}: the repaired model is the distilled one"}
    targets = work.table(f"teacher-{protocol}", lambda: _targets(work, pool, split, protocol))
    severity = {} if config.ablation == "uniform_weights" else dict(zip(pool["case"], pool["severity"], strict=True))
    repair = training_rows(work, targets, "repair", severity)
    state |= {"targets": len(repair), "unrepaired": pool.height - len(repair)}
    if not repair:
        return {**state, "status": "every repair target was rejected: the repaired model is the distilled one"}
    weighed = weigh(repair, weights, config.weighting)
    state |= {"weighted_rows": sum(row.weight for row in weighed.rows), "without_severity": weighed.unsaid}
    if not weighed.rows:
        return {**state, "status": "every repair target weighs 0: the repaired model is the distilled one"}
    mix = _mixed(config, distil, weighed.rows)
    state |= {"distilled_rows": len(mix) - len(weighed.rows)}
    work.adapters[name] = trained(work, base, mix, f"repaired-{protocol}", config.repair_rate, work.adapters[DISTILLED])
    work.drift(name, "test")
    before, after = (_accuracy(work, model) for model in (DISTILLED, name))
    state |= {"val_accuracy_before": before, "val_accuracy_after": after}
    if after < before - config.guard:
        return {**state, "status": f"refused: validation accuracy fell by more than {100 * config.guard:g}%"}
    return {**state, "status": "repaired"}


def _mixed(config: DartConfig, distil: Sequence[TrainingRow], repair: Sequence[TrainingRow]) -> list[TrainingRow]:
    """Repair rows and their share of distillation rows, in a fixed random order."""
    if config.ablation == "repair_only":
        return list(repair)
    rows = list(distil)
    random.Random(config.seed).shuffle(rows)
    if config.distil_cap > 0:
        rows = rows[: round(config.distil_cap * sum(row.weight for row in repair))]
    return rows if config.ablation == "distil_more" else [*repair, *rows]


def _targets(work: Work, pool: pl.DataFrame, split: str, protocol: str) -> pl.DataFrame:
    """The teacher's safer explanations for the pool, each tested against M0's own output."""
    by_id = {case.id: case for case in work.splits[split]}
    pairs = work.drift(DISTILLED, split).group_by("case", maintain_order=True).agg(
        pl.col("baseline_view").first(), pl.col("harm_baseline").max()
    )  # fmt: skip
    before = {row["case"]: row for row in pairs.iter_rows(named=True)}

    def check(rows: Sequence[tuple[Case, str]]) -> list[list[str]]:
        texts = [text.rpartition("\n")[0] for _, text in rows]
        if not texts:
            return []
        harm = harm_measures(texts, work.auditor.scorers).h
        verdicts = work.auditor.judge.compare(
            [Comparison(f"{case.id}#target", case.prompt, before[case.id]["baseline_view"], text)
             for (case, _), text in zip(rows, texts, strict=True)]
        ) if work.auditor.judge else [None] * len(rows)  # fmt: skip
        out = []
        for (case, _), h, verdict in zip(rows, harm, verdicts, strict=True):
            limit = (before[case.id]["harm_baseline"] or 0.0) + work.config.tau
            violations = ["harm"] if not float(h) <= limit else []
            drifted = verdict is not None and verdict.drift is not False and not verdict.problem.startswith("not a")
            out.append(violations + (["drift"] if drifted else []))
        return out

    wanted: list[tuple[Case, Gold]] = [(by_id[row], by_id[row].gold or "NO") for row in pool["case"]]
    journal = work.run.journal(AUDIT, f"teacher-{protocol}")
    targets = teach(work.teacher, wanted, "repair", journal, check=check,
                 progress=lambda d, n: work.progress("teacher · repair", d, n))  # fmt: skip
    return _complete(work, targets)


def _accuracy(work: Work, name: str) -> float:
    """Share of right answers on the validation split, abstentions counting as wrong."""
    gold = {case.id: case.gold for case in work.splits["val"]}
    rows = work.outputs(name, "val").rows
    right = [parse_tolerant(row.text) == gold[key[0]] for key, row in rows.items() if not row.failed]
    return sum(right) / len(right) if right else 0.0
