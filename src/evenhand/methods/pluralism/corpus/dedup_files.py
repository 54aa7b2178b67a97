"""The folder that a removal of near-duplicates leaves: the kept rows, a table of the dropped ones, and how it was done."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from evenhand import __version__
from evenhand.errors import BadInput
from evenhand.files import write_atomically, write_json
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.dedup import DedupResult
from evenhand.methods.pluralism.corpus.reading import RowFile
from evenhand.methods.pluralism.corpus.simhash import HASHES, NORMALISATION
from evenhand.safe_text import csv_safe


def check_folder(out: Path) -> None:
    """Raises BadInput where ``out`` is a file or already holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput("The folder is not empty.", file=out, do="Name a new one.")


def summary(source: RowFile, config: DedupConfig, result: DedupResult) -> dict[str, Any]:
    """Settings, input, search and counts, as written to ``dedup.json``; equal for every number of threads."""
    dropped = result.dropped
    return {
        "evenhand": __version__,
        "input": {"file": source.path.name, "checksum": source.checksum(), "text": source.text_column},
        "settings": config.model_dump(),
        "normalisation": NORMALISATION,
        "feature_hash": HASHES["interop" if config.interop else "char4" if config.features == "char4" else "word"],
        "search": result.plan.words(),
        "rows": result.rows,
        "different_texts": result.different_texts,
        "without_features": int(result.no_features.size),
        "kept": int(result.kept.sum()),
        "dropped": len(dropped),
        "dropped_exact": int(dropped.exact.sum()),
        "dropped_near": int((~dropped.exact).sum()),
        "pairs_verified": result.compared,
        "warnings": list(result.warnings),
    }


def write_result(source: RowFile, config: DedupConfig, result: DedupResult, out: Path) -> dict[str, Any]:
    """Write ``kept.*`` (rows as they were, in the input's format), ``dropped.csv``, ``no_features.csv`` and ``dedup.json``.

    ``dropped.csv`` has the columns row, id, kept_row, kept_id, distance (bits), jaccard (0 to 1) and kind (exact or near).
    Returns the content of ``dedup.json``. Raises BadInput where the folder holds something or the input has changed.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    wanted = np.zeros(result.rows + 1, dtype=np.bool_)
    wanted[result.dropped.row] = wanted[result.dropped.keeper] = wanted[result.no_features] = True
    ids: dict[int, str] = {}

    def seen(number: int, name: str) -> None:
        if wanted[number]:
            ids[number] = csv_safe(name)

    source.write_rows(result.kept, out / f"kept{source.kind}", seen)
    dropped = result.dropped
    columns = (dropped.row, dropped.keeper, dropped.distance, dropped.jaccard, dropped.exact)
    _write_csv(
        out / "dropped.csv",
        ["row", "id", "kept_row", "kept_id", "distance", "jaccard", "kind"],
        [
            [row, ids[row], keeper, ids[keeper], distance, round(jaccard, 4), "exact" if exact else "near"]
            for row, keeper, distance, jaccard, exact in zip(*(part.tolist() for part in columns), strict=True)
        ],
    )
    _write_csv(out / "no_features.csv", ["row", "id"], [[row, ids[row]] for row in result.no_features.tolist()])
    facts = summary(source, config, result)
    write_json(out / "dedup.json", facts)
    return facts


def _write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())
