"""Labels, responses and reports need nothing that only POSIX has; Windows lacks the modules that are refused here."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

REFUSE = """
import sys, warnings
warnings.simplefilter("ignore")  # the lock library warns that flock is missing; on Windows it has another lock
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog", "posix_ipc"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in ("fcntl", "termios", "pwd", "grp", "resource"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refuse())
"""
RUN = REFUSE + "from evenhand.cli.main import main\nmain()\n"


def write_labels(path: Path) -> None:
    rows = [
        (group, f"{group}{name}", f"s{stem}", "refusal" if (group == "b") == (stem < 2) else "answer")
        for group in "ab" for name in range(3) for stem in range(3)
    ]  # fmt: skip
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("group", "name", "stem", "label"), *rows])


def test_the_store_is_imported_without_posix_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSE + "import evenhand.runs.run, evenhand.api, evenhand.report.build"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("entry", ["labels", "responses"])
def test_an_audit_and_its_report_run_without_posix_modules(tmp_path: Path, entry: str) -> None:
    write_labels(tmp_path / "data.csv")
    words = [f"--{entry}", "data.csv", *(["--map", "response=label"] if entry == "responses" else [])]
    for given in (["audit", *words, "--reference-group", "a", "--out", "run"], ["report", "run"]):
        (tmp_path / "run" / "report.html").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", RUN, *given], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / "report.html").is_file()
