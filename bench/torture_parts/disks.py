"""Disks that are full or read-only while a run is made, then are not, and the run is taken up again."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture_parts.alike import differences, leftovers
from torture_parts.commands import LONG, MODULES, NO_CACHE, Long
from torture_parts.kills import begin_again, unbroken, workplace
from torture_parts.kit import Counts, Done, Place, as_command, traceback_in
from torture_parts.processes import Zygote

_SIZED = ("audit service", "audit reward", "drift", "rate", "repair tsdi", "sweep tsdi", "corpus build", "repair dart")
DOCUMENTED = frozenset({0, 2})
"""What a run may end with on a disk that fails: 2 with a sentence, or 0 where it needed no more than there was."""


def disks(place: Place) -> Counts:
    """Fill and lock disks until the time is spent. A try is one command on one failing disk, and its continuation on a good one."""
    total = Counts()
    able = mounting(place)
    ways = ("size", *(("full", "read-only") if able else ()))
    if not able:
        total.skipped = "no right to mount: full and read-only file systems were left out, only a size limit was tried"
    chosen = [long for long in LONG if long.name in _SIZED]
    whole: dict[str, Path] = {}
    with Zygote(place.scratch / "zygote", *MODULES) as zygote:
        for turn in itertools.count():
            for long, way in zip(chosen, itertools.islice(itertools.cycle(ways), turn, None), strict=False):
                if place.over and total.tried:
                    return total
                if long.name not in whole:
                    whole[long.name] = unbroken(zygote, place, long, total)[0]
                if whole[long.name].exists():
                    total.add(one(zygote, place, long, way, turn, whole[long.name]))
    return total


def one(zygote: Zygote, place: Place, long: Long, way: str, turn: int, whole: Path) -> Counts:
    """One command on a failing disk, twice where that is a size limit, then on a good one."""
    counts, draw = Counts(tried=1), place.random("disks", long.name, way, turn)
    folder, told, wrong = workplace(place, long, "disk"), [], ""
    run = folder / "run"
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    if way == "size":
        for _ in range(2):
            limit = max(16 << 10, int(draw.uniform(0.01, 1.1) ** 2 * largest))  # the streams of the command fit
            begin_again(long, run)
            argv = long.argv(resume=(run / "manifest.json").exists())
            done = zygote.run(argv, folder, env=NO_CACHE, limit=600.0, fsize=limit)
            told.append(f"files of at most {limit} bytes: exit {done.code}")
            wrong = wrong or judged(done, counts)
    else:
        run.mkdir()
        held = (
            way == "read-only" and draw.random() < 0.5
        )  # a finished run that is taken up again where nothing can be written
        room = max(8 << 10, int(draw.uniform(0.0, 1.0) * size)) if way == "full" else 4 * size + (8 << 20)
        with mounted(run, room, whole if held else None, read_only=way == "read-only") as kept:
            done = zygote.run(long.argv(resume=held), folder, env=NO_CACHE, limit=600.0)
            told.append(f"{way}, {room} bytes: exit {done.code}")
            wrong = judged(done, counts)
            shutil.copytree(run, kept, dirs_exist_ok=True)  # what is on the disk moves to one with room
        if kept.exists():
            shutil.rmtree(run)
            kept.rename(run)
        if way == "read-only" and not held and done.code == 0:
            counts.differing, wrong = 1, "differing: a run on a read-only file system ends with 0"
    begin_again(long, run)
    argv = long.argv(resume=(run / "manifest.json").exists())
    last = zygote.run(argv, folder, env=NO_CACHE, limit=600.0)
    told.append(f"with room again: exit {last.code}")
    wrong = wrong or ended(last, run, whole, counts)
    if wrong:
        text = f"{as_command(argv)}\n" + "\n".join(told) + f"\n\n{wrong}\n\n{last.text[-2000:]}"
        place.fail("disks", wrong.split(":")[0].replace(" ", "-"), f"{long.name}, {way}", text, [run])
    else:
        counts.clean = 1
    shutil.rmtree(folder, ignore_errors=True)
    return counts


def judged(done: Done, counts: Counts) -> str:
    """What is wrong with the end of a process on a failing disk."""
    if done.hung:
        counts.hangs = 1
        return "hang: on a failing disk"
    if traceback_in(done.text):
        counts.tracebacks = 1
        return f"traceback: {done.text[-3000:]}"
    if done.code not in DOCUMENTED:
        counts.lost = 1
        return f"exit code: {done.code} on a failing disk\n{done.text[-3000:]}"
    return ""


def ended(last: Done, run: Path, whole: Path, counts: Counts) -> str:
    """What is wrong with a run that was taken up when there was room again."""
    if last.hung:
        counts.hangs = 1
        return "hang: with room again"
    if last.code != 0:
        counts.lost = 1
        return f"lost: exit code {last.code} with room again"
    told = differences(whole, run)
    if told:
        counts.differing = 1
        return "differing: " + "; ".join(told[:20])
    left = leftovers(run)
    if left:
        counts.leftovers = 1
        return f"leftovers: {left}"
    return ""


def mounting(place: Place) -> bool:
    """Whether this user may mount a file system in memory."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    probe = place.scratch / "mount"
    probe.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "torture", str(probe)], capture_output=True, check=False
    )
    if done.returncode == 0:
        subprocess.run(["umount", str(probe)], check=False, capture_output=True)
    return done.returncode == 0


@contextmanager
def mounted(folder: Path, room: int, filled: Path | None, *, read_only: bool) -> Iterator[Path]:
    """A file system in memory of so many bytes at this folder, ``filled`` with a copy of another; yields a folder to which what is
    in it can be moved."""
    kept = folder.with_name(folder.name + "-kept")
    options = f"size={room},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "torture", str(folder)], check=True, capture_output=True)
    try:
        if filled is not None:
            shutil.copytree(filled, folder, dirs_exist_ok=True)
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, capture_output=True)
        yield kept
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def unmount_below(folder: Path) -> None:
    """Take away what an interrupted part left mounted below a folder."""
    mounts = Path("/proc/mounts")
    for line in mounts.read_text(encoding="utf-8").splitlines() if mounts.exists() else []:
        place = line.split(" ")[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
