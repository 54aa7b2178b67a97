"""What the shell is offered: commands, options and values, by the protocols of bash and zsh and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from evenhand.cli.main import app
from evenhand.console.completion import complete_values

PLUGIN = """
from evenhand.registry import GRADERS, METHODS, Method

def register():
    METHODS.add(Method("toyaudit", title="Toy", summary="an audit of a plug-in", audit="toyplug:Audit"))
    GRADERS.add("toygrader", "toyplug:Grader", "a grader of a plug-in")
"""


def ask(cwd: Path, path: str = "", **variables: str) -> str:
    """Standard output of `evenhand` when a completion script asks it."""
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": os.pathsep.join([path, *sys.path]), **variables}
    done = subprocess.run(
        [sys.executable, "-m", "evenhand"], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def in_bash(cwd: Path, *words: str, path: str = "") -> list[str]:
    """What bash is offered for the last word."""
    line = {"COMP_WORDS": " ".join(["evenhand", *words]), "COMP_CWORD": str(len(words))}
    return ask(cwd, path, _EVENHAND_COMPLETE="complete_bash", **line).split()


def in_zsh(cwd: Path, line: str) -> str:
    return ask(cwd, _EVENHAND_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with an installed package that registers an audit and a grader."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "toyplug.py").write_text(PLUGIN, encoding="utf-8")
    facts = folder / "toyplug-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toyplug\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text("[evenhand]\ntoy = toyplug:register\n", encoding="utf-8")
    return str(folder)


@pytest.fixture
def values() -> Any:
    """The values offered for a parameter, in this process: by command path and parameter."""
    command = typer.main.get_command(app)
    complete_values(command)

    def of(*path: str, begun: str = "") -> list[str]:
        part: Any = command
        for word in path[:-1]:
            part = part.commands[word]
        param = next(one for one in part.params if one.name == path[-1])
        return [item.value for item in param.shell_complete(None, begun)]

    return of


def test_bash_is_offered_commands_and_options(tmp_path: Path) -> None:
    assert in_bash(tmp_path, "re") == ["report", "repair"]
    assert in_bash(tmp_path, "repair", "dart", "--tea") == ["--teacher"]


def test_names_of_a_plugin_are_offered(tmp_path: Path, plugin: str) -> None:
    assert in_bash(tmp_path, "audit", "--only", "toy", path=plugin) == ["toyaudit"]
    assert in_bash(tmp_path, "audit", "--only", "toy") == []


def test_zsh_is_offered_values_with_a_line_about_each(tmp_path: Path) -> None:
    text = in_zsh(tmp_path, "evenhand audit --dataset names")
    assert text.startswith('_arguments \'*: :(("names-and-stems":"shipped')
    assert in_zsh(tmp_path, "evenhand audit --config set").strip() == "_files"


def test_engines_are_offered_where_one_is_asked_for(values: Any) -> None:
    assert values("audit", "models", begun="organism/al") == ["organism/aligned"]
    assert values("drift", "baseline", begun="h") == ["hf/"]
    assert values("drift", "judge", begun="ru") == ["rule"]
    assert values("repair", "dart", "teacher", begun="scr") == ["scripted"]
    assert values("corpus", "build", "classifier", begun="organism/cu") == ["organism/curator"]
    assert values("stages", "base", begun="organism/ba") == ["organism/base"]
    assert values("stages", "models") == values("sweep", "tsdi", "models") == []  # a file


def test_registered_names_and_choices_are_offered(values: Any) -> None:
    assert "winoqueer" in values("audit", "pair_set")
    assert values("audit", "grader", begun="lex") == ["lexicon"]
    assert values("datasets", "show", "name", begun="xs") == ["xstest"]
    assert "sentiment-lexicon" in values("datasets", "audit-preferences", "classifier")
    assert values("organism", "truth", "name", begun="al") == ["aligned"]
    assert values("organism", "truth", "section", begun="aff") == ["affirmation"]
    assert values("repair", "tsdi", "dtype", begun="bf") == ["bfloat16"]


def test_run_folders_are_offered_the_newest_first(values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert values("show", "run") == []
    for second, name in enumerate(["older", "newer", "not $(whoami)"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")
        os.utime(tmp_path / "runs" / name / "manifest.json", (second, second))
    (tmp_path / "runs" / "no-run").mkdir()
    both = ["runs/newer", "runs/older"]
    assert values("show", "run") == values("report", "run") == values("audit", "out") == both
    assert values("sample", "out") == []  # a new file
    assert values("corpus", "sweep", "folder", begun="runs/o") == ["runs/older"]


def test_a_real_bash_completes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = tmp_path / "evenhand.sh"
    script.write_text(ask(tmp_path, _EVENHAND_COMPLETE="source_bash"), encoding="utf-8")
    command = tmp_path / "evenhand"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m evenhand "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    asked = (
        f"source '{script}'; complete -p evenhand; COMP_WORDS=(evenhand audit organism/al); COMP_CWORD=2; "
        '_evenhand_completion evenhand; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [bash, "--norc", "-c", asked], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["complete -o default -F _evenhand_completion evenhand", "organism/aligned"]


def test_show_completion_prints_the_script_of_the_shell_that_asks(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    # The second command keeps bash from handing its process over.
    line = f"'{sys.executable}' -m evenhand --show-completion; exit $?"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [bash, "--norc", "-c", line], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "_EVENHAND_COMPLETE=complete_bash $1" in done.stdout


def test_a_shell_that_is_not_known_is_bad_input(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import shellingham, sys\ndef no(): raise shellingham.ShellDetectionFailure\nshellingham.detect_shell = no\n"
    code += "sys.argv[1:] = ['--show-completion']\nfrom evenhand.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "not supported" in done.stderr
