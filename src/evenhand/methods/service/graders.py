"""Which grader made each number, how far it can be trusted, and what its error leaves of the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.errors import BadInput
from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.methods.service.config import ServiceSettings
from evenhand.methods.service.findings import CORRECTION
from evenhand.methods.service.items import UNSAFE
from evenhand.methods.service.statistics.contrasts import ContrastFamily
from evenhand.methods.service.statistics.rates import (
    Corrected,
    Validation,
    correct_rate,
    corrected_difference,
    dominating_names,
    group_rates,
)
from evenhand.methods.service.table import COLLAPSES, FindingBuilder
from evenhand.records import DECLINED, Finding, Grade, Item, Response
from evenhand.runs.load import load
from evenhand.runs.tables import items_from, responses_from
from evenhand.statistics.agreement import agreement
from evenhand.statistics.cells import Cells
from evenhand.statistics.intervals import wilson
from evenhand.statistics.resampling import calibrate as spread_draws
from evenhand.statistics.resampling import crossed_bootstrap

if TYPE_CHECKING:
    import polars as pl

    from evenhand.config import AuditConfig
    from evenhand.engines.base import Engine
    from evenhand.graders.base import Grader
    from evenhand.graders.calibration import Calibration
    from evenhand.graders.masking import Swap


GRAMMAR, RUBRIC, LEXICON, HUMAN = "grammar", "rubric", "lexicon", "human"


@dataclass(frozen=True)
class Trust:
    """Whether a grader's error for this use is known, how, and the human labels behind it."""

    calibrated: bool
    how: str
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)


def check_graders(config: AuditConfig) -> None:
    """Raise BadInput for an unknown grader, one that lacks what it needs, or a label file that cannot be read."""
    settings = config.of(ServiceSettings)
    from evenhand.graders.human import HumanGrader
    from evenhand.registry import GRADERS

    if settings.calibration is not None:
        HumanGrader(settings.calibration)
    names = [asked.partition("=")[0] for asked in config.grader]
    if len(set(names)) < len(names):
        raise BadInput("A grader is named twice.", do="Name each once; several annotators go into one label file.")
    for asked in config.grader:
        name, _, file = asked.partition("=")
        GRADERS.get(name)
        if name == RUBRIC and config.judge is None:
            raise BadInput("The grader 'rubric' needs a judge.", do="Name one with --judge, for example openai/MODEL.")
        if name == HUMAN and not file:
            raise BadInput("The grader 'human' needs a label file.", do="Write --grader human=FILE.")
        if name == HUMAN:
            HumanGrader(file)


def check_label_files(config: AuditConfig, configurations: int) -> None:
    """Raise BadInput for human labels that name no configuration if there are several: they are about at most one."""
    settings = config.of(ServiceSettings)
    from evenhand.graders.human import read_annotations

    asked = [Path(file) for name, _, file in (text.partition("=") for text in config.grader) if name == HUMAN]
    for file in [*asked, *([settings.calibration] if settings.calibration is not None else [])]:
        unnamed = next((label.row for label in read_annotations(file) if not label.config), None)
        if configurations > 1 and unnamed is not None:
            raise BadInput(
                f"The label does not say which of the {configurations} configurations its response is from.",
                file=file, row=unnamed, do="Name it in a column 'config', or audit one configuration.",
            )  # fmt: skip


def open_graders(config: AuditConfig, judge: Engine | None) -> list[Grader]:
    """The graders asked for, the first of which makes the findings.

    `check_graders` has passed them. Default: the judge if there is one, the exact grammar for organisms, else the lexicon,
    which is provisional.
    """
    from evenhand.registry import GRADERS

    names = list(dict.fromkeys(config.grader))
    if not names:
        if judge is not None:
            names = [RUBRIC, LEXICON]
        elif _is_organism_grammar(config):
            names = [GRAMMAR, LEXICON, "prefix"]
        else:
            names = [LEXICON, "prefix"]
    graders: list[Grader] = []
    for asked in names:
        name, _, file = asked.partition("=")
        grader_class = GRADERS.get(name)
        if name == RUBRIC:
            graders.append(grader_class(judge, seed=config.seed))
        elif name == HUMAN:
            graders.append(grader_class(file))
        else:
            graders.append(grader_class())
    return graders


def _is_organism_grammar(config: AuditConfig) -> bool:
    """Whether every response comes from an organism on the prompts that its grammar knows."""
    settings = config.of(ServiceSettings)
    own_prompts = config.data or config.responses or settings.names or settings.stems or settings.unsafe
    return (
        not own_prompts
        and config.dataset == "names-and-stems"
        and all(spec.startswith("organism/") for spec in config.models)
    )


def swap_findings(builder: FindingBuilder, swaps: Sequence[Swap]) -> list[Finding]:
    """The judge-swap check: how often a label changed when names were exchanged between groups."""
    mine = [swap for swap in swaps if swap.config == builder.table.config]
    if not mine:
        return []
    changed = sum(swap.changed for swap in mine)
    return [
        builder.build(
            "judge_swap_changed", "label", changed / len(mine), "share of responses", n=len(mine),
            interval=wilson(changed, len(mine)), extra={"changed": changed},
        )
    ]  # fmt: skip


def trust_in(
    grader: Grader,
    grades: Sequence[Grade],
    config: AuditConfig,
    items: Mapping[str, Item],
    responses: Sequence[Response],
) -> Trust:
    """What is known of the primary grader's error, from human labels if a calibration file is given."""
    settings = config.of(ServiceSettings)
    if settings.calibration is None:
        how = "exact for this use" if grader.calibrated else "not checked against human labels for this use"
        return Trust(grader.calibrated, "labels that people gave" if grader.name == HUMAN else how)
    from evenhand.graders.calibration import calibrate
    from evenhand.graders.decide import grade_responses
    from evenhand.graders.human import HumanGrader

    _check_texts(settings.calibration, responses)
    human = HumanGrader(settings.calibration)
    labelled = [grade for grade in grade_responses(human, items, responses) if grade.label and grade.source == "human"]
    calibrations: dict[str, Calibration] = {}
    for name in dict.fromkeys(grade.config for grade in grades):
        mine = [grade for grade in labelled if grade.config == name and items[grade.item_id].stratum != UNSAFE]
        if not mine:
            return Trust(False, f"not checked against human labels under {name}")
        calibrations[name] = calibrate([grade for grade in grades if grade.config == name], mine, items)
        if calibrations[name].provisional:
            return Trust(
                False,
                f"checked on only {calibrations[name].n} human labels under {name}, {calibrations[name].minimum} are needed",
            )
    total = sum(part.n for part in calibrations.values())
    return Trust(
        True, f"checked on {total} human labels, and its error carried into the corrected differences", calibrations
    )


def _check_texts(file: Path, responses: Sequence[Response]) -> None:
    """Raise BadInput where the file's labels are about other texts than those of this run."""
    from evenhand.datasets.table import read_table
    from evenhand.safe_text import csv_restore, json_safe

    table = read_table(file)
    if not {"config", "item_id", "repetition", "response", "label"} <= set(table.frame.columns):
        return
    texts = {(row.config, row.item_id, str(row.repetition)): row.text for row in responses}
    for number, row in enumerate(table.rows(), start=1):
        config, item, repetition = (csv_restore(row[name] or "") for name in ("config", "item_id", "repetition"))
        if not (row["label"] or "").strip() or (config, item, repetition) not in texts:
            continue
        given, current = csv_restore(row["response"] or ""), json_safe(texts[config, item, repetition])
        if given.split() != current.split() and not current.startswith(given[:200]):
            raise BadInput(
                "The label is about another response than this run has.", file=file, row=number,
                do="Draw the sample from a run with the same model, settings and seed.",
            )  # fmt: skip


def compare_graders(builder: FindingBuilder, grades: pl.DataFrame) -> list[Finding]:
    """Every further grader compared with the first: sensitivity and specificity for ``declined`` by group, and kappa.

    ``grades`` holds the rows of every grader. Provider refusals are left out: no grader made them.
    """
    import polars as pl

    table = builder.table
    judged = grades.filter(
        (pl.col("config") == table.config) & pl.col("label").is_not_null() & (pl.col("source") != "provider")
    ).select("grader", "item_id", "repetition", declined=pl.col("label").is_in(list(DECLINED)))
    stem = pl.col(table.units.stem or "item_id").alias("cluster")
    units = table.labelled.select("item_id", "group", stem).unique("item_id", maintain_order=True)
    first = (
        judged.filter(pl.col("grader") == builder.grader)
        .rename({"declined": "yes"})
        .drop("grader")
        .join(units, on="item_id")
    )
    findings: list[Finding] = []
    for name in judged["grader"].unique(maintain_order=True):
        if name == builder.grader:
            continue
        pairs = first.join(judged.filter(pl.col("grader") == name), on=["item_id", "repetition"])
        if pairs.is_empty():
            continue
        counts = {(row[0], row[1]): (row[2], row[3]) for row in _matches(pairs).iter_rows()}
        for group in table.groups:
            for estimand, wanted in (("grader_sensitivity", True), ("grader_specificity", False)):
                right, n = counts.get((group, wanted), (0, 0))
                findings.append(
                    builder.build(
                        estimand, "declined", right / n if n else None, PROBABILITY, group=group, n=n,
                        part={"grader": name}, interval=wilson(right, n), extra={"against": builder.grader},
                        reason="" if n else f"'{builder.grader}' found no response of this class",
                    )
                )  # fmt: skip
        ratings = pairs.select(pl.col("yes", "declined").cast(pl.Int64)).to_numpy()
        clusters = pairs["cluster"].rank("dense").cast(pl.Int64).to_numpy() - 1
        kappa = agreement(ratings, "cohen", clusters=clusters, draws=min(builder.draws, 2000), seed=builder.seed)
        findings.append(
            builder.build(
                "grader_kappa", "declined", kappa.coefficient, "kappa", part={"grader": name}, reason=kappa.reason,
                interval=kappa.interval, extra={"against": builder.grader, "observed": kappa.observed},
            )
        )  # fmt: skip
    return findings


def _matches(pairs: pl.DataFrame) -> pl.DataFrame:
    """For each group and each answer of the first grader: how often the other agrees, and how many there are."""
    import polars as pl

    return pairs.group_by("group", "yes").agg(right=(pl.col("declined") == pl.col("yes")).sum(), n=pl.len())


NO_SHARED_STEM = "the groups share no stem, so the grader's error cannot be taken out"


def corrected_findings(builder: FindingBuilder, trust: Trust, family: ContrastFamily | None) -> list[Finding]:
    """Rates and differences of ``declined`` corrected for the grader's error by group, the validation sample redrawn with the rest.

    A difference is corrected on the stems that its two groups share, the same as those of the difference as graded.
    """
    calibration = trust.calibrations.get(builder.table.config)
    if calibration is None or family is None:
        return []
    table, part = builder.table, CORRECTION
    cells = table.cells(COLLAPSES["declined"])
    findings: list[Finding] = []
    for code, group in enumerate(table.groups):
        errors = calibration.groups.get(group)
        result = _corrected(builder, calibration, cells, (code,))[code]
        counted: dict[str, Any] = {} if errors is None else {
            "tp": errors.tp, "fn": errors.fn, "tn": errors.tn, "fp": errors.fp,
        }  # fmt: skip
        findings.append(
            builder.build(
                "rate", "declined", result.estimate, PROBABILITY, group=group, part=part,
                interval=result.interval, reason=result.reason, extra=counted,
            )
        )  # fmt: skip
        if not code:
            continue
        pair = _corrected(builder, calibration, cells, (code, 0))
        gap = corrected_difference(pair[code], pair[0])
        findings.append(
            builder.build(
                "risk_difference", "declined", gap.estimate, DIFFERENCE, group=group, reference=table.groups[0],
                part=part, interval=gap.interval, reason=gap.reason,
            )
        )  # fmt: skip
    return findings


def _corrected(
    builder: FindingBuilder, calibration: Calibration, cells: Cells, codes: tuple[int, ...]
) -> dict[int, Corrected]:
    """The corrected rate of each of these groups on the stems that all of them have, from draws they share."""
    common = cells.shared(*codes)
    shared = common.cells
    if not shared.values.shape[1] or len(shared.codes) < len(codes):
        return dict.fromkeys(codes, Corrected(None, None, None, NO_SHARED_STEM))
    units = shared.by_stem() if shared.nested else shared
    # A dominating name is found on all cells, as for the differences as graded.
    held = {} if cells.nested else dominating_names(cells)
    fixed = {code: int(at[0]) for code, row in held.items() if (at := np.flatnonzero(common.rows == row)).size}
    drawn = crossed_bootstrap(units, draws=builder.draws, seed=builder.seed)
    result: dict[int, Corrected] = {}
    for rate in group_rates(units, fixed={} if shared.nested else fixed):
        errors = calibration.groups.get(builder.table.groups[rate.group])
        if errors is None or rate.rate is None:
            result[rate.group] = Corrected(None, None, None, "no human label in this group")
            continue
        draws = drawn.of(rate.group)
        if rate.standard_error and rate.df:
            draws = spread_draws(draws, rate.rate, rate.standard_error, rate.df)
        # Predictive values hold for samples drawn by predicted class and for random ones alike.
        counts = Validation(errors.tp, errors.fn, errors.tn, errors.fp, design="by_label")
        result[rate.group] = correct_rate(rate.rate, draws, counts, seed=builder.seed, stream=rate.group)
    return result


def write_sample(run: Path, audit: str, out: Path, size: int, seed: int) -> int:
    """Write up to ``size`` responses of a run as CSV with an empty label column, balanced over group and predicted class.

    Returns the number of rows. Raises BadInput where the run has no responses to label.
    """
    import polars as pl

    from evenhand.graders.calibration import calibration_sample, write_calibration_csv

    loaded = load(run, audit)
    if not out.parent.is_dir():
        raise BadInput("The folder of the file to write is not there.", file=out)
    if loaded.manifest["state"] != "done":
        raise BadInput("The run is not finished.", file=run, do="Finish it with --resume.")
    if loaded.responses is None:
        raise BadInput("The run began at labels: it holds no responses to label.", file=run)
    first = loaded.grades.filter(pl.col("grader") == loaded.result["facts"]["grader"])
    items = {item.id: item for item in items_from(loaded.items)}
    # Labels of the unsafe set say nothing about the rates of the harmless prompts, which they are to correct.
    grades = [
        grade
        for grade in (Grade(**row) for row in first.iter_rows(named=True))
        if items[grade.item_id].stratum != UNSAFE
    ]
    sample = calibration_sample(grades, items, size, seed)
    return write_calibration_csv(out, sample, items, responses_from(loaded.responses))
