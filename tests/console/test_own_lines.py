"""No line of a library reaches a user's screen; Evenhand's own still do, and Python use is left alone."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

from evenhand.console.streams import own_lines_only

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
