"""Attack Evenhand for some minutes: kills, faulty replies, mutated inputs, failing disks. Prints what came of it as one table.

    python bench/torture.py [--minutes 30] [--seed 0] [--only kills] [--only wire] [--only inputs] [--only disks]

Exits 1 where anything was lost, differs, ended in a traceback, hung, leaked a key, or left something behind. Each failure is
kept under bench/out/torture/ with the command that repeats it. docs/reliability.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # loaded by a test, not started as a script
    sys.path.insert(0, str(HERE))
for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

from torture_parts.disks import disks, unmount_below  # noqa: E402
from torture_parts.inputs import inputs  # noqa: E402
from torture_parts.kills import kills  # noqa: E402
from torture_parts.kit import BAD, Counts, Place  # noqa: E402
from torture_parts.wire import wire  # noqa: E402

PARTS: dict[str, Callable[[Place], Counts]] = {"kills": kills, "wire": wire, "inputs": inputs, "disks": disks}
LANES = ({"kills": 0.75, "disks": 0.25}, {"wire": 0.45}, {"inputs": 1.0})
"""What is done one after the other, each with its share of the minutes; the lanes run side by side. The server's faults are mostly
waits, so that two cores are enough. A part that is chosen alone has all of the time."""
_LIBRARIES = ("evenhand", "torch", "transformers", "polars", "pyarrow", "httpx", "numpy")


def torture(minutes: float, seed: int, only: Sequence[str], kept: Path) -> dict[str, Counts]:
    """Run the parts for so many minutes; the counts of each part. A part that breaks down itself is a failure as well."""
    chosen = tuple(only) or tuple(PARTS)
    found: dict[str, Counts] = {}
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as scratch:
        place = Place(Path(scratch), kept, seed, time.monotonic() + 60 * minutes)

        def lane(shares: dict[str, float]) -> None:
            whole = 1.0 if len(chosen) == len(PARTS) else sum(shares.get(part, 0.0) for part in chosen)
            for part, share in shares.items():
                if part not in chosen:
                    continue
                own = place.part(part, time.monotonic() + 60 * minutes * share / whole)
                try:
                    found[part] = PARTS[part](own)
                except Exception:
                    found[part] = Counts(tried=1, tracebacks=1)
                    place.fail(part, "harness", "the harness itself broke down", traceback.format_exc())
                shutil.rmtree(own.scratch, ignore_errors=True)

        threads = [threading.Thread(target=lane, args=(shares,), daemon=True) for shares in LANES]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            unmount_below(Path(scratch))
    return {part: found[part] for part in PARTS if part in found}


def table(found: dict[str, Counts], minutes: float, seed: int, seconds: float) -> str:
    """The counts as a Markdown table, with versions, seconds and seed."""
    columns = ("tried", "clean", *BAD)
    rows = [[part, *(f"{getattr(counts, name):,}" for name in columns)] for part, counts in found.items()]
    total = Counts()
    for counts in found.values():
        total.add(counts)
    rows.append(["all", *(f"{getattr(total, name):,}" for name in columns)])
    lines = ["| part | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"{part}: {note}." for part, counts in found.items() for note in (counts.skipped, *counts.notes) if note]
    told = f"{seconds:,.0f} seconds ({minutes:g} minutes asked), seed {seed}, {os.cpu_count()} cores, {platform.system()}; "
    told += f"Python {platform.python_version()}, " + ", ".join(f"{name} {installed(name)}" for name in _LIBRARIES)
    return "\n".join([*lines, "", *notes, told + "."])


def installed(name: str) -> str:
    """The version of a library."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    """Torture, print the table, and exit 1 for any bad count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes in all (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument("--only", action="append", choices=tuple(PARTS), default=[], help="this part alone, repeatable")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "torture", help="folder of failures")
    chosen = parser.parse_args()
    shutil.rmtree(chosen.out, ignore_errors=True)
    began = time.monotonic()
    found = torture(chosen.minutes, chosen.seed, chosen.only, chosen.out)
    print(table(found, chosen.minutes, chosen.seed, time.monotonic() - began))
    if any(counts.bad or not counts.tried for counts in found.values()):
        print(f"\nFailures: {chosen.out}")
        sys.exit(1)


if __name__ == "__main__":
    main()
