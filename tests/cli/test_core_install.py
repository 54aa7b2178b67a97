"""Every command on an installation without extras: it works, or names the line that installs what it needs before any work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from evenhand.cli.main import app
from evenhand.errors import EXTRAS, missing_library

INSTALL = "Run: pip install 'evenhand[{}]'\n"
CORE = f"""
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRAS)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from evenhand.cli.main import main
ends = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["evenhand", *words]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code
    ends.append([code or 0, out.getvalue(), err.getvalue()])
print(json.dumps(ends))
"""
# What each command is called with, and the extra that it needs (None: it works, or fails for another reason than that).
CALLS: dict[str, list[tuple[str, str | None]]] = {
    "audit": [
        ("", "local"),
        ("hf/x", "local"),
        ("--estimate", "local"),
        ("--responses prompts.csv --judge hf/x --reference-group a", "local"),
        ("--labels labels.csv --reference-group a --out labels", None),
    ],
    "stages": [("--base organism/base --sft organism/sft", "local")],
    "drift": [("organism/sft organism/aligned --judge rule", "local")],
    "rate": [("organism/aligned", "local"), ("organism/aligned --estimate", "local")],
    "serve": [("organism/aligned", "serve")],
    "report": [("labels", None)],
    "show": [("labels", None)],
    "sample": [("labels --out sample.csv", None)],
    "list": [("audits", None), ("engines", None), ("classifiers", None)],
    "repair dart": [("organism/aligned --teacher scripted --judge rule", "train")],
    "repair tsdi": [("organism/aligned", "local"), ("organism/aligned --estimate", "local")],
    "sweep tsdi": [("organism/aligned", "local")],
    "corpus build": [("grammar --classifier organism/curator --generator organism/curator", "local")],
    "corpus sweep": [("labels", None)],
    "corpus dedup": [("prompts.csv --out d1 --ray local", "scale"), ("prompts.csv --out d2", None)],
    "datasets list": [("", None)],
    "datasets show": [("names-and-stems", None)],
    "datasets coverage": [("prompts.csv", None)],
    "datasets audit-preferences": [("pairs.csv", None), ("pairs.csv --classifier hf/x#y", "local")],
    "organism list": [("", None)],
    "organism truth": [("", None), ("--section reward", None), ("--section corpus curator", None)],
}


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[str]:
    """The words of every command below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name))


def test_every_command_is_tried() -> None:
    assert set(commands(typer.main.get_command(app))) == set(CALLS)


def test_every_command_works_or_names_what_installs_its_extra(tmp_path: Path) -> None:
    rows = [f"{g},{g}{n},s{s},{'refusal' if n else 'answer'}" for g in "ab" for n in range(3) for s in range(3)]
    (tmp_path / "labels.csv").write_text("\n".join(["group,name,stem,label", *rows]))
    texts = [f"{g},{g}{n},s{s},what is a prompt,text {g}{n}{s}" for g in "ab" for n in range(3) for s in range(3)]
    (tmp_path / "prompts.csv").write_text("\n".join(["group,name,stem,prompt,response", *texts]))
    (tmp_path / "pairs.csv").write_text("prompt,chosen,rejected\n" + "\n".join(f"p{i},c{i},r{i}" for i in range(4)))
    calls = [([*name.split(), *words.split()], extra) for name, tried in CALLS.items() for words, extra in tried]
    done = subprocess.run(
        [sys.executable, "-c", CORE, json.dumps([words for words, _ in calls])],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (words, extra), (code, _, err) in zip(calls, json.loads(done.stdout), strict=True):
        assert "Traceback" not in err
        assert "Error" not in err, (words, err)
        if extra is not None:
            assert code == 2, (words, err)
            assert err.endswith(INSTALL.format(extra)), (words, err)
            assert err.count("\n") == 1, err
        elif words[0] == "sample" or words[:2] == ["corpus", "sweep"]:
            assert code == 2, "labels hold no responses, and no build"
        else:
            assert code == 0, (words, err)
    made = {entry.name for entry in tmp_path.iterdir() if entry.is_dir()}
    assert made <= {"labels", "d2"}, "something was begun before the library was missed"


def test_a_library_that_is_broken_is_not_called_missing() -> None:
    error = ImportError("libcudart.so.12: cannot open shared object file", name="torch")
    assert "torch is installed but cannot be imported (libcudart" in str(missing_library(error))
    assert missing_library(ModuleNotFoundError("No module named 'mine'", name="mine")) is None


@pytest.mark.parametrize("words", ["--version", "list audits"])
def test_the_package_runs_as_a_module(words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evenhand", *words.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("evenhand ", "audit"))
