"""Signals at random moments of every long command, resumed until it ends, and compared with a run that was left alone."""

from __future__ import annotations

import itertools
import shutil
import signal
from pathlib import Path

from torture_parts.alike import differences, journal_lines, leftovers
from torture_parts.commands import LONG, MODULES, NO_CACHE, Long
from torture_parts.kit import Counts, Done, Place, as_command, traceback_in
from torture_parts.processes import Zygote, run_process

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
CODES = {
    signal.SIGKILL: frozenset({-signal.SIGKILL}), signal.SIGINT: frozenset({130}), signal.SIGTERM: frozenset({130, 143}),
}  # fmt: skip
"""The exit code after each signal; 0 where the run had just ended."""
_GRACE = 60.0
"""Seconds after which a process that was asked to end has hung."""


def kills(place: Place) -> Counts:
    """Kill until the time is spent, every command in turn. A try is one signal; its run is compared when it has ended."""
    total = Counts()
    whole: dict[str, tuple[Path, float]] = {}
    with Zygote(place.scratch / "zygote", *MODULES) as zygote:
        for turn in itertools.count():
            for long in LONG:
                if place.over and total.tried:
                    total.notes.append(f"{turn} full rounds of {len(LONG)} commands")
                    return total
                if long.name not in whole:
                    whole[long.name] = unbroken(zygote, place, long, total)
                folder, seconds = whole[long.name]
                if folder.exists():
                    total.add(broken(zygote, place, long, turn, folder, seconds))
    return total


def workplace(place: Place, long: Long, name: str) -> Path:
    """A fresh folder to run the command in, with its inputs."""
    folder = place.scratch / f"{long.name.replace(' ', '-')}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if long.prepare is not None:
        long.prepare(folder, place)
    return folder


def unbroken(zygote: Zygote, place: Place, long: Long, total: Counts) -> tuple[Path, float]:
    """The run that is left alone: its folder (absent if it failed) and its seconds."""
    folder = workplace(place, long, "whole")
    done = zygote.run(long.argv(resume=False), folder, env=NO_CACHE, limit=600.0)
    if done.code != 0:
        total.tried += 1
        total.lost += 1
        place.fail("kills", "unbroken", long.name, f"exit {done.code}\n{done.text[-4000:]}")
        shutil.rmtree(folder / "run", ignore_errors=True)
    return folder / "run", done.seconds


def broken(zygote: Zygote, place: Place, long: Long, turn: int, whole: Path, seconds: float) -> Counts:
    """One run with two to six signals, some of them two at once, then resumed to its end."""
    counts, draw = Counts(), place.random("kills", long.name, turn)
    folder = workplace(place, long, "broken")
    run, told, wrong = folder / "run", [], ""
    before: dict[str, set[bytes]] = {}
    for _ in range(draw.randint(2, 6)):
        number = draw.choice(_SIGNALS)
        moment = 0.02 + draw.random() ** 0.8 * seconds
        signals = [(moment, number)]
        if number != signal.SIGKILL and draw.random() < 0.3:  # an impatient operator
            signals.append((moment + draw.uniform(0.01, 0.2), number))
        begin_again(long, run)
        started = (run / "manifest.json").exists()
        done = zygote.run(
            long.argv(resume=started), folder, env=NO_CACHE, limit=moment + seconds * 3 + _GRACE, signals=signals
        )
        told.append(f"{signal.Signals(number).name} x{len(signals)} after {moment:.2f} s: exit {done.code}")
        counts.tried += 1
        wrong = wrong or judged(done, number, counts)
        if done.code == 0:
            break
    if long.resumable and run.exists():
        before = journal_lines(run)
    begin_again(long, run)
    argv = long.argv(resume=(run / "manifest.json").exists())
    fresh = draw.random() < 0.2
    last = run_process(argv, folder, env=NO_CACHE) if fresh else zygote.run(argv, folder, env=NO_CACHE, limit=600.0)
    told.append(f"last: exit {last.code}{', in a new interpreter' if fresh else ''}")
    wrong = wrong or finished(last, run, whole, before, counts)
    if wrong:
        text = f"{as_command(argv)}\n" + "\n".join(told) + f"\n\n{wrong}\n\n{last.text[-3000:]}"
        place.fail("kills", wrong.split(":")[0].replace(" ", "-"), long.name, text, [run])
    else:
        counts.clean += counts.tried
    shutil.rmtree(folder, ignore_errors=True)
    return counts


def begin_again(long: Long, run: Path) -> None:
    """A command that cannot be resumed wants an empty folder; a run that was killed before its manifest leaves nothing of worth."""
    if run.exists() and (not long.resumable or not (run / "manifest.json").exists()):
        shutil.rmtree(run)


def judged(done: Done, number: int, counts: Counts) -> str:
    """What is wrong with the end of a process that was sent a signal; an empty text for nothing."""
    if done.hung:
        counts.hangs += 1
        return f"hang: after signal {number}"
    if traceback_in(done.text):
        counts.tracebacks += 1
        return f"traceback: {done.text[-3000:]}"
    if done.code != 0 and done.code not in CODES[signal.Signals(number)]:
        counts.lost += 1
        return f"exit code: {done.code} after signal {number}\n{done.text[-3000:]}"
    return ""


def finished(last: Done, run: Path, whole: Path, before: dict[str, set[bytes]], counts: Counts) -> str:
    """What is wrong with a run that was resumed to its end."""
    if last.hung:
        counts.hangs += 1
        return "hang: when resumed"
    if traceback_in(last.text):
        counts.tracebacks += 1
        return "traceback: when resumed"
    if last.code != 0:
        counts.lost += 1
        return f"lost: exit code {last.code} when resumed"
    after = journal_lines(run)
    gone = [name for name, lines in before.items() if name in after and lines - after[name]]
    if gone:
        counts.lost += 1
        return f"lost: finished lines of {gone}"
    told = differences(whole, run)
    if told:
        counts.differing += 1
        return "differing: " + "; ".join(told[:20])
    left = leftovers(run)
    if left:
        counts.leftovers += 1
        return f"leftovers: {left}"
    return ""
