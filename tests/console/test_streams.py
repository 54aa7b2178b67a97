"""Standard output as other programs leave it: any encoding, a closed pipe, a full disk, none at all; and a hostile terminal."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from evenhand.console.streams import own_lines_only

COMMAND = [sys.executable, "-m", "evenhand"]
AUDIT = ["audit", "--labels", "labels.csv", "--reference-group", "a", "--out"]
FULL = Path("/dev/full")
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202etxt\r\n=1+1"


def full_disk() -> io.BufferedWriter:
    """A file on a disk without space."""
    if not FULL.exists():
        pytest.skip("there is no /dev/full here")
    return FULL.open("wb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels, and a finished run of them in ``run``."""
    place = tmp_path_factory.mktemp("streams")
    rows = [
        (group, f"{group}{name}", f"s{stem}", "refusal" if (group == "b") == (stem < 2) else "answer")
        for group in "ab" for name in range(3) for stem in range(3)
    ]  # fmt: skip
    with (place / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("group", "name", "stem", "label"), *rows])
    subprocess.run([*COMMAND, *AUDIT, "run"], cwd=place, check=True, capture_output=True)
    return place


def state(folder: Path) -> Any:
    from evenhand.runs.run import Run

    return Run.open(folder).manifest["state"]


def test_an_output_that_is_not_utf_8_gets_escapes_and_the_run_is_finished(folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([*COMMAND, *AUDIT, "ascii"], cwd=folder, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u25cf " in done.stdout
    assert state(folder / "ascii") == "done"


def left_by_its_reader(folder: Path, words: list[str], unbuffered: str = "") -> None:
    """Run a command whose output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.returncode == 0, (words, done.stderr)
    assert b"Broken" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_leaves_does_not_fail_a_run(folder: Path) -> None:
    left_by_its_reader(folder, [*AUDIT, "head"])
    assert state(folder / "head") == "done"
    assert (folder / "head" / "report.html").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["show", "run"], ["show", "run", "--csv"], ["list", "audits"], ["--help"]])
def test_a_reader_that_leaves_does_not_fail_a_command(folder: Path, words: list[str], unbuffered: str) -> None:
    left_by_its_reader(folder, words, unbuffered)


def test_a_full_disk_behind_the_output_leaves_a_finished_run(folder: Path) -> None:
    with full_disk() as full:
        done = subprocess.run([*COMMAND, *AUDIT, "full"], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert state(folder / "full") == "done"
    assert done.stderr.startswith(b"evenhand: standard output: No space left on device.")
    assert b"The run is finished" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", [["show", "run", "--csv"], ["list", "audits"], ["--help"]])
def test_a_full_disk_behind_an_output_that_was_asked_for_is_code_2(folder: Path, words: list[str]) -> None:
    with full_disk() as full:
        done = subprocess.run([*COMMAND, *words], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"evenhand: standard output: No space left on device.")
    assert done.stderr.count(b"\n") == 1


def test_findings_as_json_on_a_full_disk_are_code_2_and_the_run_is_finished(folder: Path) -> None:
    with full_disk() as full:
        words = [*COMMAND, *AUDIT, "json", "--json"]
        done = subprocess.run(words, cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"The run is finished" in done.stderr
    assert state(folder / "json") == "done"


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_error(folder: Path, closed: str) -> None:
    shell = f'"{sys.executable}" -m evenhand list audits {closed}'
    assert subprocess.run(shell, cwd=folder, shell=True, check=False).returncode == 0


def test_a_terminal_gets_no_escape_sequences_of_a_model_and_a_file_gets_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import polars as pl

    from evenhand.console.screens import print_csv

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    frame = pl.DataFrame({"id": ["1"], "text": [HOSTILE], "\x1b[2Jname": [-1.5]})
    shown: dict[str, str] = {}
    for kind, stream in (("terminal", Terminal(newline="")), ("file", io.StringIO(newline=""))):
        monkeypatch.setattr(sys, "stdout", stream)
        print_csv(frame)
        shown[kind] = stream.getvalue()
    assert not set("\x1b\x07\u202e") & set(shown["terminal"])
    assert list(csv.reader(io.StringIO(shown["terminal"], newline=""))) == [
        ["id", "text", "name"],
        ["1", "redtxt\n=1+1", "-1.5"],
    ]
    assert list(csv.reader(io.StringIO(shown["file"], newline="")))[1] == ["1", HOSTILE, "-1.5"]


MAIN = "from evenhand.cli.main import main; main()"
NUMBER = r"[\d,]+"
OURS = re.compile(
    rf"evenhand: .+"
    rf"|Expected: .+ \(estimated from a probe of {NUMBER} rows on this machine\)\."
    rf"|Expected: every response and score is in the cache; .+"
    rf"|Not probed: .+\.|To shorten the run: .+\."
    rf"|.+: {NUMBER} of {NUMBER}, started( \({NUMBER} were there already\))?"
    rf"|.+: {NUMBER} of {NUMBER}, ([\d.,]+/(s|min), about .+ left.*|.+ so far)"
    rf"|.+: {NUMBER} of {NUMBER}, done( in .+)?"
)
NOISY = """
import logging, sys, warnings

def forward(*args, **kwargs):
    warnings.warn("`past_key_values` is deprecated, pass `cache`", FutureWarning, stacklevel=2)
    warnings.warn("a user warning of a library", UserWarning)
    logging.getLogger("noisy.modeling").warning("This is an advisory.")
    logging.warning("The root logger was called.")
    own = logging.getLogger("noisy.own")
    own.addHandler(logging.StreamHandler(sys.stderr))
    own.propagate = False
    own.error("A handler of its own.")
"""


def run(code: str, folder: Path, *words: str, flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Exit code, standard output and the file that standard error went to."""
    with (folder / "err.txt").open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, *flags, "-c", code, *words], cwd=folder, stdout=subprocess.PIPE, stderr=file, text=True,
            check=False, env={**os.environ, "EVENHAND_CACHE": ""},
        )  # fmt: skip
    return done.returncode, done.stdout, (folder / "err.txt").read_text(encoding="utf-8")


def test_every_line_of_a_run_with_stderr_in_a_file_is_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    code = (
        "import noisy, evenhand.engines.decode as decode\n"
        "forward = decode.Decoder.forward\n"
        "decode.Decoder.forward = lambda *args: noisy.forward() or forward(*args)\n" + MAIN
    )
    few = ("--limit", "16", "--repetitions", "1", "--max-tokens", "24", "--draws", "100", "--only", "service")
    code_of, out, err = run(code, tmp_path, "audit", "organism/aligned", *few, "--out", "run", "--json")
    assert code_of == 0, err
    assert out == (tmp_path / "run" / "findings.json").read_text(encoding="ascii")
    lines = err.splitlines()
    assert [line for line in lines if not OURS.fullmatch(line)] == []
    assert re.search(r"[\x00-\x09\x0b-\x1f]", err) is None
    assert re.match(r"Expected: about \d+ s and [\d,.]+ [MG]iB of memory for the models ", lines[0])
    assert lines[1] == "organism/aligned: 0 of 16, started"
    assert lines[2].startswith("organism/aligned: 16 of 16, done in ")


def test_a_warning_that_is_to_be_an_error_stays_one(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    code = "import noisy\nfrom evenhand.console.streams import own_lines_only\nwith own_lines_only():\n    noisy.forward()\n"
    ended, _, err = run(code, tmp_path, flags=("-W", "error::FutureWarning"))
    assert ended == 1
    assert "FutureWarning" in err


def test_our_own_warnings_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    class OwnWarning(UserWarning):
        __module__ = "evenhand.engines.some"

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with own_lines_only():
            logging.getLogger("evenhand.engines.local").warning("A batch of %d rows\nis halved.\x1b[31m", 64)
            logging.getLogger("evenhand.engines.local").info("not a warning")
            logging.getLogger("transformers.modeling").warning("foreign")
            logging.getLogger().error("foreign")
            warnings.warn("One weight is missing.", OwnWarning, stacklevel=1)
            warnings.warn("foreign", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == "evenhand: A batch of 64 rows is halved.\nevenhand: One weight is missing.\n"


def test_everything_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")

    def state() -> tuple[object, ...]:
        own = logging.getLogger("evenhand")
        return (
            warnings.showwarning, list(warnings.filters), logging.Logger.callHandlers, list(own.handlers), own.level,
            dict(os.environ),
        )  # fmt: skip

    before = state()

    @own_lines_only()
    def broken() -> None:
        assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
        assert list(warnings.filters) == before[1]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert state() == before


def test_python_use_keeps_the_warnings_of_its_libraries() -> None:
    library = types.ModuleType("library")
    exec("import warnings\ndef old(): warnings.warn('gone soon', FutureWarning, stacklevel=2)", library.__dict__)
    with own_lines_only():
        pass
    import evenhand

    assert callable(evenhand.audit)
    with pytest.warns(FutureWarning, match="gone soon"):
        library.old()
