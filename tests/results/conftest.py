"""A run of every audit on the organism, and one over labels with hostile texts."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import evenhand
from evenhand.results import RunResult

HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(scope="session")
def organism_run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return evenhand.audit(
        "organism/aligned", limit=12, repetitions=1, draws=100, permutations=99, reml_draws=0, rating_items=3, wordings=1,
        rating_axes=("gender",), bias_draws=8, max_tokens=16, report=False, out=tmp_path_factory.mktemp("all") / "run",
    )  # fmt: skip


@pytest.fixture(scope="session")
def labels_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"group": group, "name": f"{group}{n}", "stem": f"S{t}", "label": "refusal" if (n + t) % 4 < k else "answer"}
        for group, k in (("a", 0), (HOSTILE, 3))
        for n in range(6)
        for t in range(6)
    ]
    run = evenhand.audit(
        labels=pl.DataFrame(rows), reference_group="a", draws=100, report=False,
        out=tmp_path_factory.mktemp("labels") / "run",
    )  # fmt: skip
    return run.folder
