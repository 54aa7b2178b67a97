"""DART repair: the one place where the rest of the package learns of this method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.registry import Method

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.load import LoadedRun

METHOD = Method(
    name="dart",
    title="DART repair",
    summary="distil, audit and repair explanations: accuracy and drift step by step",
    paper="dart",
    rows="evenhand.methods.dart.repair.method:rows",
    shown=("config", "case", "drift", "severity", "category", "delta", "baseline_view", "candidate_view"),
    section="evenhand.methods.dart.repair.page:dart_part",
    commands="evenhand.methods.dart.commands:add_repair",
    order=90,
)


def rows(loaded: LoadedRun) -> pl.DataFrame:
    """Pairs of two models' explanations on the test split, the later model in ``config``."""
    import polars as pl

    parts = [pairs.with_columns(config=pl.lit(model)) for model, pairs in pairs_by_model(loaded)]
    if not parts:
        raise loaded.lacks("pairs")
    return pl.concat(parts)


def pairs_by_model(loaded: LoadedRun) -> list[tuple[str, pl.DataFrame]]:
    """Each later model with the table of its pairs with M0 on the test split."""
    paths = sorted((loaded.run.folder / "dart").glob("pairs-*-test.parquet"))
    models = [path.stem.removeprefix("pairs-").removesuffix("-test") for path in paths]
    return [(model, loaded.table(f"pairs-{model}-test")) for model in models]
