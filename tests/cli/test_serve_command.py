"""The command `evenhand serve`: its screens, and a server that a client finds where the screen says."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from evenhand.cli import main as command_line
from evenhand.engines.spec import open_engine
from evenhand.engines.token_bias import BiasHeader, TokenBias, vocabulary_digest, write_token_bias

MODEL = "organism/sft"
START = "from evenhand.cli.main import main; main()"


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """The handler that the command line sets is put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def bias() -> TokenBias:
    engine: Any = open_engine(MODEL, device="cpu")
    table = np.zeros((2, int(engine.model.config.vocab_size)), dtype=np.float32)
    header = BiasHeader(
        length=2, vocabulary=table.shape[1], draws=2, pool="by hand", pool_digest="0", pool_size=1, seed=0,
        prompt_lengths=(8, 64), tokenizer=vocabulary_digest(engine.tokenizer),
        template=engine.renderer.digest, aligned=dataclasses.asdict(engine.identity()),
        reference={}, evenhand="0",
    )  # fmt: skip
    engine.close()
    return TokenBias(header, table, table, table, table)


def screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Exit code and everything printed."""
    monkeypatch.setattr(sys, "argv", ["evenhand", "serve", *words])
    with pytest.raises(SystemExit) as end:
        command_line.main()
    said = capsys.readouterr()
    code = end.value.code
    return (code if isinstance(code, int) else 0), re.sub(r"\s+", " ", said.out + said.err)


def test_an_artefact_that_holds_nan_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bias: TokenBias, tmp_path: Path
) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    write_token_bias(tmp_path, bias)
    path = tmp_path / "bias.safetensors"
    with safe_open(str(path), framework="np") as file:
        metadata, tables = file.metadata(), {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
    tables["bias"][1, 7] = np.nan
    save_file(tables, path, metadata=metadata)
    code, said = screen(capsys, monkeypatch, MODEL, "--tsdi", str(tmp_path), "--port", "0")
    assert code == 2
    assert "holds NaN or infinity (position 2, token 7)" in said
    assert "base URL" not in said


def test_an_artefact_of_another_tokenizer_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bias: TokenBias, tmp_path: Path
) -> None:
    header = bias.header.model_copy(update={"tokenizer": "f" * 32, "aligned": {"spec": "hf/some/other"}})
    write_token_bias(tmp_path, dataclasses.replace(bias, header=header))
    code, said = screen(capsys, monkeypatch, MODEL, "--tsdi", str(tmp_path), "--port", "0")
    assert code == 2
    assert "hf/some/other" in said
    assert MODEL in said
    assert "tokenizer" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["openai/gpt-4o"], "only plain local models"),
        (["organism/none"], "There is no organism 'none'"),
        ([MODEL, "--tsdi", "/nonexistent"], "no such folder"),
        ([MODEL, "--alpha", "-1", "--tsdi", "x"], "alpha"),
        ([MODEL, "--alpha", "nan", "--tsdi", "x"], "alpha"),
        ([MODEL, "--length", "3"], "Add --tsdi DIR"),
        ([MODEL, "--port", "99999"], "port"),
        ([MODEL, "--api-key-env", "EVENHAND_NO_SUCH_KEY"], "EVENHAND_NO_SUCH_KEY holds no key"),
        ([MODEL, "--host", "no.such.host.invalid"], "cannot be used"),
        ([MODEL, "--device", "cuda:99"], "cuda"),
    ],
)
def test_screens_of_what_cannot_be_served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    code, said = screen(capsys, monkeypatch, *words, *([] if "--port" in words else ["--port", "0"]))
    assert code == 2
    assert message in said


def test_a_length_beyond_the_artefact_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bias: TokenBias, tmp_path: Path
) -> None:
    write_token_bias(tmp_path, bias)
    words = [MODEL, "--tsdi", str(tmp_path), "--length", "3", "--port", "0"]
    code, said = screen(capsys, monkeypatch, *words)
    assert code == 2
    assert "choose 1 to 2" in said


def test_a_missing_library_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, said = screen(capsys, monkeypatch, MODEL)
    assert code == 2
    assert "uvicorn" in said
    assert "evenhand[serve]" in said


def test_the_command_imports_nothing_heavy() -> None:
    words = (
        "import sys, evenhand.cli.commands; print([m for m in ('torch', 'starlette', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_server_is_found_where_the_screen_says_and_ends_when_told(bias: TokenBias, tmp_path: Path) -> None:
    import openai

    write_token_bias(tmp_path, bias)
    words = ["serve", MODEL, "--tsdi", str(tmp_path), "--length", "1", "--port", "0", "--api-key-env", "KEY_OF_MINE"]
    with subprocess.Popen(
        [sys.executable, "-c", START, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KEY_OF_MINE": "sesame", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    ) as server:  # fmt: skip
        assert server.stdout is not None
        lines: list[str] = []
        while not lines or "base URL" not in lines[-1]:
            lines.append(server.stdout.readline())
            assert lines[-1], server.communicate()[1]
        assert f"{MODEL}, TSDI {tmp_path}, alpha 1, 1 positions" in "".join(lines)
        found = re.search(r"base URL (http://127\.0\.0\.1:\d+/v1)", lines[-1])
        assert found is not None
        with openai.OpenAI(base_url=found[1], api_key="sesame", max_retries=5) as client:
            asked: Any = [{"role": "user", "content": "Tell me a joke about cats and dogs."}]
            answer = client.chat.completions.create(model=MODEL, messages=asked, max_tokens=4)
            assert answer.model_extra == {"tsdi": {"alpha": 1.0, "first_position": 1, "corrected_positions": 1}}
        assert httpx.get(f"{found[1]}/models").status_code == 401
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=30)
    assert server.returncode == 130
    assert "Traceback" not in out + err
    assert "cats" not in out + err, "what clients write is not logged"
