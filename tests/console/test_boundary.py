"""The edge of the command line: what the machine refuses, bugs, interrupts and finished runs, each one line and one code."""

from __future__ import annotations

import csv
import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenhand.console import boundary
from evenhand.console.boundary import refusal

Command = Callable[..., tuple[int, str, str]]


class RustPanic(BaseException):
    """As pyo3's PanicException: no Exception."""


def raised_by(module: str, name: str, text: str, base: type[Exception] = Exception) -> Exception:
    """An error of a library's own class."""
    return type(name, (base,), {"__module__": module})(text)


@pytest.fixture
def labels(tmp_path: Path) -> str:
    rows = [
        (group, f"{group}{name}", f"s{stem}", "refusal" if (group == "b") == (stem < 2) else "answer")
        for group in "ab" for name in range(3) for stem in range(3)
    ]  # fmt: skip
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("group", "name", "stem", "label"), *rows])
    return "audit --labels labels.csv --reference-group a --out run"


def fail(monkeypatch: pytest.MonkeyPatch, target: str, error: BaseException) -> None:
    """Have the function at ``target`` raise."""

    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(target, failing)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "Choose another place"),
        (errno.EACCES, "Check its permissions"),
        (errno.EPERM, "Check its permissions"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "too many open files"),
        (errno.ENOMEM, "--batch-tokens"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_file_and_what_to_do(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    fail(monkeypatch, "evenhand.runs.load.load", OSError(number, os.strerror(number), "some/place.parquet"))
    code, out, err = command("sample", "run", "--out", "x.csv")
    assert (code, out) == (2, "")
    assert err.startswith(f"evenhand: some/place.parquet: {os.strerror(number)}. ")
    assert advice in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Out of memory. "),
        (
            raised_by("torch", "OutOfMemoryError", "CUDA out of memory. Tried 2 GiB", RuntimeError),
            "Out of memory (CUDA",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "Out of memory ("),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (raised_by("polars.exceptions", "ComputeError", "No space left on device (os error 28)"), "Free some space"),
        (raised_by("pyarrow.lib", "ArrowException", "[Errno 28] Error writing bytes to file"), "Free some space"),
        (raised_by("safetensors_rust", "SafetensorError", "I/O error: Disk quota (os error 122)"), "disk quota"),
        (sqlite3.OperationalError("database or disk is full"), "Free some space"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "EVENHAND_CACHE"),
    ],
)
def test_a_library_that_the_machine_refuses_is_one_line_too(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    fail(monkeypatch, "evenhand.runs.load.load", error)
    code, _, err = command("sample", "run", "--out", "x.csv")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("odd\nthing"), RecursionError("deep"), RustPanic("index out of bounds")])
def test_a_bug_ends_with_code_70_and_its_traceback_in_a_file(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("EVENHAND_DEBUG", raising=False)
    fail(monkeypatch, "evenhand.runs.load.load", error)
    code, _, err = command("sample", "run", "--out", "x.csv")
    assert code == 70
    (kept,) = tmp_path.glob("evenhand-traceback-*.txt")
    assert f"unexpected error: {type(error).__name__}: " in err
    assert "bug in Evenhand" in err
    assert str(kept) in err
    assert err.count("\n") == 1
    assert "in failing" in kept.read_text(encoding="utf-8")


def test_debugging_prints_the_traceback_instead(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("EVENHAND_DEBUG", "1")
    fail(monkeypatch, "evenhand.runs.load.load", ValueError("odd"))
    code, _, err = command("sample", "run", "--out", "x.csv")
    assert code == 70
    assert "Traceback (most recent call last)" in err
    assert not list(tmp_path.glob("evenhand-traceback-*"))
    fail(monkeypatch, "evenhand.runs.load.load", OSError(errno.ENOSPC, "No space", "f"))
    code, _, err = command("sample", "run", "--out", "x.csv")
    assert code == 2
    assert "Traceback (most recent call last)" in err


def test_no_secret_reaches_the_message_or_the_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret-0123")
    told = "key sk-very-secret-0123 at http://user:hunter22@host/v1?api_key=tellme99#m failed"
    for error, wanted in ((ValueError(told), 70), (OSError(errno.EIO, told, "f"), 2)):
        fail(monkeypatch, "evenhand.runs.load.load", error)
        code, _, err = command("sample", "run", "--out", "x.csv")
        assert code == wanted
        files = [path.read_text(encoding="utf-8") for path in tmp_path.glob("evenhand-traceback-*")]
        assert files
        for text in (err, *files):
            assert "://[hidden]@host/v1?[hidden]#m failed" in text
            for secret in ("sk-very-secret-0123", "hunter22", "tellme99"):
                assert secret not in text


def test_a_full_disk_in_the_middle_of_a_run_says_how_to_go_on_and_the_run_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: str
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, "evenhand.runs.run.Run.finish", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        code, out, err = command(*labels.split())
    assert (code, out) == (2, "")
    assert err.startswith("evenhand: run: No space left on device. Free some space")
    assert err.endswith("repeat the command with --out run --resume.\n")
    code, out, _ = command(*labels.split(), "--resume")
    assert code == 0
    assert "report: run/report.html" in out


def test_a_bug_in_a_run_leaves_its_traceback_in_the_run_folder(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: str
) -> None:
    fail(monkeypatch, "evenhand.runs.run.Run.finish", ValueError("odd"))
    code, _, err = command(*labels.split())
    assert code == 70
    (kept,) = (tmp_path / "run").glob("evenhand-traceback-*.txt")
    assert f"run/{kept.name}" in err
    assert "--out run --resume" in err


def test_a_report_that_cannot_be_written_leaves_a_finished_run(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: str
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, "evenhand.report.build.write", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        code, out, err = command(*labels.split())
    assert code == 0
    assert "report: not written" in out
    assert "No space left on device" in err
    assert "The run is finished and its findings are written; `evenhand report run` writes its report." in err
    from evenhand.runs.run import Run

    assert Run.open(tmp_path / "run").manifest["state"] == "done"
    assert command("report", "run")[:2] == (0, "run/report.html\n")


def test_a_bug_in_the_closing_screen_says_that_the_run_is_finished(
    command: Command, monkeypatch: pytest.MonkeyPatch, labels: str
) -> None:
    fail(monkeypatch, "evenhand.console.screens.print_outcome", ValueError("odd"))
    code, _, err = command(*labels.split())
    assert code == 70
    assert "The run is finished and its findings are written" in err


def test_an_interrupt_after_the_run_says_that_it_is_finished(
    command: Command, monkeypatch: pytest.MonkeyPatch, labels: str
) -> None:
    fail(monkeypatch, "evenhand.report.build.write", KeyboardInterrupt())
    code, _, err = command(*labels.split())
    assert code == 130
    assert err.startswith("evenhand: interrupted. The run is finished")


def test_an_interrupt_outside_a_run_is_code_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "evenhand.runs.load.load", KeyboardInterrupt())
    assert command("sample", "run", "--out", "x.csv") == (130, "", "evenhand: interrupted\n")


@pytest.mark.parametrize(
    "words", ["nosuch", "audit --nosuch", "show", "sample run", "list nosuch", "show run --limit x"]
)
def test_a_usage_error_is_code_2(command: Command, words: str) -> None:
    code, out, err = command(*words.split())
    assert (code, out) == (2, "")
    assert "Error: " in err


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 2300])
def test_a_name_that_is_too_long_is_one_line(command: Command, labels: str, name: str) -> None:
    code, _, err = command(*labels.split()[:-1], name)
    assert code == 2
    assert "characters): File name too long. Choose a shorter name or path." in err
    assert err.count("\n") == 1
    assert len(err) < 300


def test_an_output_folder_below_a_file_is_one_line(command: Command, tmp_path: Path, labels: str) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = command(*labels.split()[:-1], "file/run")
    assert code == 2
    assert err.startswith("evenhand: file/run")
    assert err.count("\n") == 1


def test_a_working_directory_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as found:
        Path.cwd()
    assert "working directory no longer exists" in str(refusal(found.value))


def test_a_checkpoint_that_torch_could_not_write_is_the_disk() -> None:
    said = refusal(
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 646528 vs 646416"), Path("run")
    )
    assert said is not None
    assert said.startswith("run: A checkpoint could not be written. Free some space")


def test_an_error_of_ours_is_no_refusal() -> None:
    assert refusal(ValueError("odd")) is None
    assert refusal(OSError("no number")) is None
    assert refusal(raised_by("polars.exceptions", "ComputeError", "a wrong column")) is None


def test_text_without_secrets_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "the")
    text = "What? 'the key' of http://host/v1#m, and a@b."
    assert boundary.redacted(text) == text
