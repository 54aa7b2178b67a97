"""A corpus from end to end: classify, expand low-resource domains, remove near-duplicates, split, and write the data card.

Every expensive stage is journaled, and every stage leaves a table, so that an interrupted build continues and ends with the same
bytes. The stages follow arXiv 2602.07376; docs/corpus.md lists what is a chosen default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.engines.base import Engine
from evenhand.errors import EngineError
from evenhand.files import write_atomically, write_json
from evenhand.methods.pluralism.corpus.build_tables import (
    pool_frame,
    prompts_frame,
    review_frame,
    rows_frame,
    search,
    split_by_group,
    write_csv,
)
from evenhand.methods.pluralism.corpus.card import build_facts
from evenhand.methods.pluralism.corpus.card_text import card_text
from evenhand.methods.pluralism.corpus.classify import Classified, Classifier, classified_frame, classified_from
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.expand import Expansion, attempts_frame, low_resource
from evenhand.methods.pluralism.corpus.profiles import PromptSet, open_prompts, profiles_to_ask
from evenhand.methods.pluralism.corpus.quality import spot_sample
from evenhand.methods.pluralism.corpus.wording import SLUGS, classifier_digest, generator_digest
from evenhand.redact import public
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.run import Run

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.respond import Progress


AUDIT = "corpus"
ROLES = ("classifier", "generator")
_DROPPED = ("row", "keeper", "distance", "jaccard", "exact")


@dataclass(frozen=True, slots=True)
class Built:
    """A finished corpus: its run, the folder of its tables, and the content of ``card.json``."""

    run: Run
    folder: Path
    facts: Mapping[str, Any]


@dataclass
class _Work:
    """One build under way."""

    run: Run
    config: BuildConfig
    source: PromptSet
    engines: Mapping[str, Engine]
    progress: Progress

    @property
    def folder(self) -> Path:
        """The folder of the tables."""
        return self.run.folder / AUDIT

    def table(self, name: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """A finished table, or a new one that is written before it is used."""
        from evenhand.runs.tables import read_table, write_table

        path = self.run.table(AUDIT, name)
        if not path.exists():
            write_table(path, make())
        return read_table(path)


def run_build(
    config: BuildConfig, folder: Path, *, resume: bool = False, cache: Path | None = None,
    progress: Progress = lambda what, done, total: None, engines: Mapping[str, Engine] | None = None,
) -> Built:  # fmt: skip
    """Build a corpus in a run folder; its tables are in ``folder/corpus``.

    ``engines`` may hold open engines by role (classifier, generator), which stay open. Raises BadInput for input, settings or a
    folder that cannot be used, EngineError for an engine that lacks a requested ability, or if no text gets a label.
    """
    source = open_prompts(
        config.items, config.columns or None, config.data_root, licence=config.licence, with_reply=config.with_reply
    )
    opened: Mapping[str, Engine] = {} if engines is not None else _opened(config, cache)
    with closing_engines(opened):
        used = engines if engines is not None else opened
        classifier = Classifier(
            used["classifier"], delta=config.delta, mode=config.mode, max_tokens=config.classifier_tokens
        )
        shown = public(config.model_copy(update={role: used[role].spec for role in ROLES}))
        with started(folder, _plan(shown, used, source, classifier.mode), resume=resume) as run:
            work = _Work(run, shown, source, used, progress)
            facts = _carried_out(work, classifier)
            run.note(AUDIT, {"rows": facts["rows"]["final"], "missing": facts["rows"]["unlabelled"]})
    return Built(run, work.folder, facts)


def _opened(config: BuildConfig, cache: Path | None) -> dict[str, Engine]:
    """The engines by role; one engine where both are the same model."""
    from evenhand.engines.spec import open_engine

    options = engine_options(config)
    first = open_engine(config.classifier, cache=cache, options=options)
    if config.generator == config.classifier:
        return {"classifier": first, "generator": first}
    try:
        return {"classifier": first, "generator": open_engine(config.generator, cache=cache, options=options)}
    except BaseException:
        first.close()
        raise


def _plan(config: BuildConfig, engines: Mapping[str, Engine], prompt_set: PromptSet, mode: str) -> dict[str, Any]:
    source = {"origin": prompt_set.origin, "checksums": dict(prompt_set.checksums), "texts": len(prompt_set.prompts)}
    return plan_of(
        config, {AUDIT: source}, engines, exclude={"data_root"}, mode=mode,
        settings={"models": sorted({engines[role].spec for role in ROLES})},
        wording={"classifier": classifier_digest(), "generator": generator_digest()},
    )  # fmt: skip


def _reopen(work: _Work) -> None:
    """If a classification failed, ask for it again from the journals and rebuild every table that depends on it."""
    from evenhand.runs.tables import read_table

    real = work.run.table(AUDIT, "classified")
    if real.exists() and (read_table(real)["status"] == "failed").any():
        for name in ("pool", "attempts", "attempts_classified", "classified"):
            work.run.table(AUDIT, name).unlink(missing_ok=True)


def _carried_out(work: _Work, classifier: Classifier) -> dict[str, Any]:
    """Every stage in its order; returns the content of ``card.json``."""
    config, source = work.config, work.source
    stage = work.folder / "stages"
    _reopen(work)
    real = work.table(
        "classified",
        lambda: classified_frame(classifier.classify(source.prompts, stage, "real", work.progress).values()),
    )
    verdicts = classified_from(real)
    labelled = {key: text for key, text in source.prompts.items() if verdicts[key].status == "ok"}
    if not labelled:
        why = Counter(row.status for row in verdicts.values())
        raise EngineError(
            f"'{config.classifier}' labelled none of the texts: {dict(why)}. The table classified gives the reasons."
        )
    kept = search(labelled, config, stage / "real.jsonl", work.progress, groups=False).keeper
    alone = [key for key in labelled if kept[key] == key]
    counts = Counter(verdicts[key].label for key in alone)
    lacking = low_resource(counts, config)
    pools = {slug: [key for key in alone if verdicts[key].label == slug] for slug in SLUGS}

    def expanded() -> pl.DataFrame:
        if not lacking or config.attempts == 0:
            tried = []
        else:
            tried = Expansion(
                work.engines["generator"], classifier, config, source.prompts, pools, profiles_to_ask(source), stage,
                work.progress,
            ).run(lacking)  # fmt: skip
        made = [row.verdict for row in tried if row.verdict is not None]
        # The table of classified attempts is written first: a table of attempts implies that both exist.
        work.table("attempts_classified", lambda: classified_frame(made))
        return attempts_frame(tried)

    attempts = work.table("attempts", expanded)
    verdicts |= classified_from(work.table("attempts_classified", lambda: classified_frame([])))
    accepted = {row["id"]: row for row in attempts.iter_rows(named=True) if row["status"] == "accepted"}
    texts = {**labelled, **{key: row["text"] for key, row in accepted.items()}}
    pool, warnings = _pooled(work, texts, verdicts, {key: row["domain"] for key, row in accepted.items()})
    facts = build_facts(
        config, source, pool, attempts, list(classified_from(real).values()), lacking, counts,
        mode=classifier.mode, identities=work.run.manifest["plan"]["identities"], warnings=warnings,
    )  # fmt: skip
    _written(work, pool, attempts, real, facts)
    return facts


def _pooled(
    work: _Work, texts: Mapping[str, str], verdicts: Mapping[str, Classified], targets: Mapping[str, str]
) -> tuple[pl.DataFrame, list[str]]:
    """The table ``pool``, every labelled text with its keeper, its group and its split; and the warnings of the removal."""
    import polars as pl

    from evenhand.files import read_json

    config = work.config
    removal_file = work.folder / "stages" / "removal.json"

    def made() -> pl.DataFrame:
        pool = search(texts, config, work.folder / "stages" / "pool.jsonl", work.progress)
        labels = {key: targets.get(key) or verdicts[key].label for key in texts}
        splits = split_by_group(
            pool.group, labels, (config.train, config.val, max(0.0, 1 - config.train - config.val)), seed=config.seed,
            train_only=frozenset(targets) if config.synthetic_in == "train" else frozenset(),
        )  # fmt: skip
        dropped = pool.result.dropped
        keys = list(texts)
        write_json(
            removal_file,
            {
                "search": pool.result.plan.words(),
                "warnings": list(pool.result.warnings),
                "dropped": [
                    [keys[row - 1], keys[keeper - 1], distance, round(similarity, 4), "exact" if exact else "near"]
                    for row, keeper, distance, similarity, exact in zip(
                        *(getattr(dropped, name).tolist() for name in _DROPPED), strict=True
                    )
                ],
            },
        )
        return pool_frame(texts, verdicts, targets, pool, splits, config)

    frame = work.table("pool", made)
    removal = read_json(removal_file)
    schema = {
        "prompt_id": pl.String, "kept_id": pl.String, "distance": pl.Int64, "jaccard": pl.Float64, "kind": pl.String,
    }  # fmt: skip
    write_csv(work.folder / "dropped.csv", pl.DataFrame(removal["dropped"], schema=schema, orient="row"))
    return frame, removal["warnings"]


def _written(
    work: _Work, pool: pl.DataFrame, attempts: pl.DataFrame, real: pl.DataFrame, facts: Mapping[str, Any]
) -> None:
    """All tables for readers, ``card.json`` and ``card.md``."""
    import polars as pl

    from evenhand.runs.tables import write_table

    source, folder, config = work.source, work.folder, work.config
    rows = rows_frame(source, pool)
    prompts = prompts_frame(pool, attempts, source.joins_frame())
    profiles = source.profiles_frame()
    for name, frame in (("prompts", prompts), ("rows", rows), ("profiles", profiles)):
        write_table(work.run.table(AUDIT, name), frame)
        write_csv(folder / f"{name}.csv", frame)
    write_csv(folder / "review.csv", review_frame(source.prompts, classified_from(real)))
    write_csv(folder / "attempts.csv", attempts)
    accepted = attempts.filter(pl.col("status") == "accepted")
    chosen = set(spot_sample(accepted["id"].to_list(), config.spot_share, config.seed))
    spot = accepted.filter(pl.col("id").is_in(sorted(chosen))).select(
        "id", "domain", "text", pl.lit("").alias("right"), pl.lit("").alias("remark")
    )
    write_csv(folder / "spot_check.csv", spot)
    write_json(folder / "card.json", facts)
    write_atomically(folder / "card.md", card_text(facts, config).encode())
