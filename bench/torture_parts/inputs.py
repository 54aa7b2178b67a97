"""Damaged inputs of every reader: each ends with a documented exit code, in time, and without a traceback."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

from torture_parts.cases import FAMILIES, Bases, Case
from torture_parts.kit import Counts, Place, as_command, traceback_in
from torture_parts.processes import Zygote

_BATCH = 240
LIMIT = 60.0
"""Seconds after which a case has hung."""
_LEAST = 30.0
"""Seconds that a batch may take at least."""
_SPACE = 12 << 30
"""Address space of a child, in bytes: a case that wants more fails with an allocation."""
DOCUMENTED = frozenset({0, 1, 2, 3})


def inputs(place: Place) -> Counts:
    """Run cases in batches until the time is spent; a batch is one process."""
    total, told = Counts(), Counter[int]()
    with Zygote(place.scratch / "zygote", "everything") as zygote:
        bases = Bases(place, zygote)
        at = 0
        while not (place.over and total.tried):
            cases = made(place, bases, at)
            total.add(run_batch(zygote, place, cases, told))
            at += len(cases)
    total.notes.append("exit codes " + ", ".join(f"{code}: {count:,}" for code, count in sorted(told.items())))
    return total


def made(place: Place, bases: Bases, first: int) -> list[Case]:
    """The next cases. Each depends on the seed and its number alone."""
    folder = place.scratch / "cases"
    shutil.rmtree(folder, ignore_errors=True)
    found = []
    for number in range(first, first + _BATCH):
        draw = place.random("inputs", number)
        make = draw.choices([make for make, _ in FAMILIES], [weight for _, weight in FAMILIES])[0]
        own = folder / str(number)
        own.mkdir(parents=True)
        found.append(make(bases, own, draw))
    return found


def run_batch(zygote: Zygote, place: Place, cases: list[Case], told: Counter[int]) -> Counts:
    """Run cases in as many processes as it takes: one that crashes or hangs is replaced by another for the cases left."""
    counts, first = Counts(), 0
    until = max(place.until, time.monotonic() + _LEAST)  # what had to be prepared can have taken the time
    while first < len(cases):
        if time.monotonic() > until:
            break
        left = cases[first:]
        ended, stopped = zygote.batch(
            [{"argv": case.argv, "cwd": str(case.cwd), "env": case.env} for case in left],
            limit=LIMIT,
            space=_SPACE,
            until=until,
        )
        for case, (code, text) in zip(left, ended, strict=False):
            told[code] += 1
            judge(place, case, code, text, counts)
        first += len(ended)
        if stopped and first < len(cases):
            case = cases[first]
            counts.tried += 1
            setattr(counts, stopped, getattr(counts, stopped) + 1)
            keep(
                place,
                case,
                stopped,
                f"the process {'hung' if stopped == 'hangs' else 'died'}\n{zygote.last_output()[-3000:]}",
            )
            first += 1
        elif not ended:
            break
    return counts


def judge(place: Place, case: Case, code: int, text: str, counts: Counts) -> None:
    """Count one case that ended by itself."""
    counts.tried += 1
    if traceback_in(text) or code not in DOCUMENTED:
        counts.tracebacks += 1
        keep(place, case, "traceback", f"exit {code}\n{text[-5000:]}")
        return
    if code == 0 and case.refused:
        counts.differing += 1
        keep(place, case, "accepted", "damaged data is accepted silently")
        return
    if code == 0 and case.same is not None and changed(case.cwd / case.same[0], case.same[1]):
        counts.differing += 1
        keep(
            place,
            case,
            "differing",
            f"{case.same[0]} is not that of the good input, and the exit code is 0\n{text[-2000:]}",
        )
        return
    if any(path.name.endswith(".tmp") for path in case.cwd.rglob("*.tmp")):
        counts.leftovers += 1
        keep(place, case, "leftover", f"exit {code}: a temporary file stays")
        return
    counts.clean += 1


def changed(path: Path, good: bytes) -> bool:
    """Whether a file differs from the good one, times in it aside."""
    from torture_parts.alike import plain

    return not path.is_file() or plain(path.suffix, path.read_bytes()) != plain(path.suffix, good)


def keep(place: Place, case: Case, kind: str, told: str) -> None:
    """Keep a failing case with its files."""
    env = " ".join(f"{name}={value!r}" for name, value in case.env.items())
    files = [path for path in case.cwd.iterdir() if path.is_dir() or path.suffix != ".sqlite-shm"]
    place.fail("inputs", kind, case.name, f"{env} {as_command(case.argv)}\n\n{told}".strip(), files)
