"""Golden runs: proof that a reorganised package reports what it reported before.

``python tests/golden/golden.py make FOLDER`` makes one run of each kind with the evenhand of the current environment.
``python tests/golden/golden.py compare BEFORE AFTER`` reads two such folders and prints every difference: identities of
findings, numbers, tests, numbers of rows and statuses must be equal, as must every table; sentences may differ, and
findings may have new fields. The exit code is 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The default audit stands as users run it; limits keep the other kinds to about half a minute of one core each.
RUNS: dict[str, list[str]] = {
    "audit": ["audit", "organism/aligned"],
    "stages": [
        *("stages", "--base", "organism/base", "--sft", "organism/sft"),
        *("--dpo", "organism/dpo", "--sft-dpo", "organism/aligned", "--limit", "120"),
    ],
    "rate": ["rate", "organism/aligned", "--rating-items", "28", "--wordings", "2", "--permutations", "999"],
    "drift": ["drift", "organism/sft", "organism/aligned", "--judge", "rule", "--limit", "64", "--draws", "1000"],
    "dart": [
        *("repair", "dart", "organism/aligned", "--teacher", "scripted", "--judge", "rule", "--second", "echo"),
        *("--protocol", "both", "--batch", "16", "--accumulation", "1", "--rate", "5e-3", "--repair-rate", "2e-3"),
        *("--distil-cap", "2", "--guard", "0.05", "--max-tokens", "64", "--limit", "24", "--epochs", "1"),
    ],
    "tsdi": [
        *("repair", "tsdi", "organism/aligned", "--draws", "64", "--fixed"),
        *("--limit", "40", "--repetitions", "2", "--max-tokens", "64"),
    ],
    "sweep": [
        *("sweep", "tsdi", "organism/aligned", "--alpha", "0.5,1", "--length", "2,10", "--contexts", "64"),
        *("--limit", "16", "--repetitions", "1", "--draws", "1000", "--max-tokens", "64"),
    ],
    "corpus": [
        *("corpus", "build", "grammar", "--classifier", "organism/curator", "--generator", "organism/curator"),
        *("--floor", "8", "--attempts", "1"),
    ],
}  # fmt: skip
LABELS = ("llama2_qos", "counts_by_name.csv")

# Parts of a finding that are prose: they may be worded better.
WORDS = frozenset(
    {"reason", "note", "notes", "sentence", "headline", "text", "words", "caveats", "advice", "method", "verdict"}
)
# What a run measures about itself, not about a model.
ASIDE = frozenset({"seconds", "created", "timings", "peak_memory", "versions"})


def make(folder: Path, only: list[str]) -> int:
    """Make the golden runs below ``folder``; the exit code is 1 where one failed."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "EVENHAND_CACHE": "", "OMP_NUM_THREADS": "1"}
    runs = dict(RUNS)
    data = Path(os.environ.get("EVENHAND_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if data.joinpath(*LABELS).exists():
        runs["labels"] = ["audit", "--only", "service", "--labels", str(data.joinpath(*LABELS))]
    failed = 0
    for name, words in runs.items():
        if only and name not in only:
            continue
        began = time.monotonic()
        out = folder / name
        command = [sys.executable, "-m", "evenhand", *words, "--out", str(out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        (folder / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        print(f"{name}: exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
        failed += done.returncode != 0
    return 1 if failed else 0


def differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Every difference that is neither prose nor a field that is new."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            if key in WORDS or key in ASIDE:
                continue
            if key not in after:
                yield f"{path}.{key}: gone"
            else:
                yield from differences(before[key], after[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: {len(before)} entries, now {len(after)}"
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            label = old.get("id", index) if isinstance(old, dict) else index
            yield from differences(old, new, f"{path}[{label}]")
    elif before != after:
        yield f"{path}: {before!r}, now {after!r}"


def tables(folder: Path) -> dict[str, Path]:
    """The Parquet tables of a run, by their path within it."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.parquet"))}


def compare(before: Path, after: Path) -> int:
    """Print every difference between two folders of golden runs; the exit code is 1 where there is one."""
    import polars as pl

    bad = runs = findings = compared = 0
    for old in sorted(path for path in before.iterdir() if path.is_dir()):
        new, lines = after / old.name, list[str]()
        if not new.is_dir():
            lines.append("the run is missing")
        else:
            if (old / "findings.json").exists() and not (new / "findings.json").exists():
                lines.append("findings.json: gone")
            elif (old / "findings.json").exists():
                left, right = (json.loads((run / "findings.json").read_text(encoding="utf-8")) for run in (old, new))
                lines += differences(left["audits"], right["audits"], "findings")
                findings += sum(len(audit.get("findings", ())) for audit in left["audits"].values())
            ours = tables(new)
            for name, path in tables(old).items():
                if name not in ours:
                    lines.append(f"{name}: gone")
                elif not pl.read_parquet(path).equals(pl.read_parquet(ours[name])):
                    lines.append(f"{name}: other rows")
                compared += 1
        runs += 1
        bad += len(lines)
        for line in lines[:20]:
            print(f"{old.name}: {line}")
        if len(lines) > 20:
            print(f"{old.name}: and {len(lines) - 20} more")
    print(f"{runs} runs, {findings} findings, {compared} tables: {bad} differences")
    return 1 if bad or not runs else 0


def main() -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    maker = parts.add_parser("make")
    maker.add_argument("folder", type=Path)
    maker.add_argument("--only", nargs="*", default=[], choices=[*RUNS, "labels"])
    comparer = parts.add_parser("compare")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    given = parser.parse_args()
    return make(given.folder, given.only) if given.part == "make" else compare(given.before, given.after)


if __name__ == "__main__":
    sys.exit(main())
