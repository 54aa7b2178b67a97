"""A build with the curator that is left alone, and one that is killed at four stages and resumed.

Usage: FOLDER ITEMS FLOOR [DOMAIN ...]. Each attempt is a process of its own that is killed by SIGKILL once a journal of a stage
has a line; prints how each ended.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

STAGES = ("real-choices", "round-001.journal", "round-001-choices", "round-002.journal")
BUILD = """
import os, sys, time
folder, items, floor, pause, *expand = sys.argv[1:]
os.environ["OMP_NUM_THREADS"] = "1"
from evenhand.config import checked
from evenhand.methods.pluralism.corpus.build import _opened, run_build
from evenhand.methods.pluralism.corpus.config import BuildConfig
from pathlib import Path
def slowly(what, done, total):
    time.sleep(float(pause))
config = checked(
    BuildConfig, items=items, classifier="organism/curator", generator="organism/curator", floor=int(floor), expand=tuple(expand),
)
engines = _opened(config, None)
run_build(config, Path(folder), resume=True, progress=slowly, engines=engines)
"""


def attempt(folder: Path, pause: float) -> subprocess.Popen[bytes]:
    """Build, or go on, in a process."""
    return subprocess.Popen([sys.executable, "-c", BUILD, str(folder), *sys.argv[2:4], str(pause), *sys.argv[4:]])


def main() -> None:
    """One whole build, four kills, and the rest."""
    folder = Path(sys.argv[1])
    print(attempt(folder / "whole", 0).wait())
    for stage in STAGES:
        child = attempt(folder / "broken", 0.1)
        until = time.monotonic() + 200
        while child.poll() is None and time.monotonic() < until:
            if any(path.stat().st_size for path in (folder / "broken" / "corpus" / "stages").glob(f"{stage}*")):
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        print(child.wait())
    print(attempt(folder / "broken", 0).wait())


if __name__ == "__main__":
    main()
