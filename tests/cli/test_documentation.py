"""Settings, help and the pages say the same thing."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from evenhand.cli.main import app
from evenhand.config import audit_settings
from evenhand.console import boundary
from evenhand.console.boundary import EXIT_CODES
from evenhand.console.options import option_name
from evenhand.errors import EXTRAS
from evenhand.methods.dart.config import DartConfig, DriftConfig
from evenhand.methods.tsdi.config import TsdiRepairConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?evenhand ([^#\n]+)", re.MULTILINE)


def help_of(*words: str) -> str:
    asked = words if words and words[-1].startswith("--help") else (*words, "--help")
    result = CliRunner().invoke(app, asked, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.output


def sections_of(text: str) -> dict[str, str]:
    """The text of a help page below each of its headings."""
    parts = re.split(r"^(\S.*):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options_in(text: str) -> list[str]:
    return re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)


def test_every_setting_has_its_option_and_its_line_of_help_once_under_its_group() -> None:
    text = help_of("audit", "--help-all")
    listed, sections = options_in(text), sections_of(text)
    for name, place in audit_settings().items():
        assert place.field.description, name
        if name == "models":
            assert "[models]" in text
            continue
        heading = next(heading for heading, part in sections.items() if option_name(name) in options_in(part))
        assert listed.count(option_name(name)) == 1, name
        assert heading.endswith(f"({place.method})") == bool(place.method), name
        assert "".join(place.field.description.split()) in "".join(sections[heading].split()), name


@pytest.mark.parametrize("command", ["audit", "stages", "rate"])
def test_the_help_of_a_command_fits_on_a_page(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evenhand", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    lines = done.stdout.rstrip().split("\n")
    assert len(lines) < 90
    assert 80 < max(map(len, lines)) <= 100


def test_the_common_help_names_the_options_of_each_method_without_explaining_them() -> None:
    sections = sections_of(help_of("audit"))
    named = sections["Options of one method (explained by --help-all)"].split()
    for name, place in audit_settings().items():
        assert (option_name(name) in named) == bool(place.method), name
    assert "smallest change" not in help_of("audit").lower()


@pytest.mark.parametrize(
    ("words", "model", "own"),
    [
        (("drift",), DriftConfig, {"baseline", "candidate"}),
        (("repair", "dart"), DartConfig, {"model"}),
        (("repair", "tsdi"), TsdiRepairConfig, {"model"}),
    ],
)
def test_every_setting_of_a_command_has_its_option(
    words: tuple[str, ...], model: type[BaseModel], own: set[str]
) -> None:
    text = "".join(help_of(*words).split())
    for name, field in model.model_fields.items():
        assert field.description, name
        assert (name if name in own else option_name(name)) in text, name
        assert "".join(field.description.split()) in text, name


def test_every_option_in_the_pages_exists() -> None:
    checked = 0
    for page in PAGES:
        for line in COMMAND.findall(page.read_text(encoding="utf-8")):
            words = shlex.split(line)
            group = [word for word in words[:2] if not word.startswith("-")]
            command = group if group[0] in ("corpus", "datasets", "organism", "repair", "sweep") else group[:1]
            text = help_of(*command, *(["--help-all"] if command[0] in ("audit", "stages") else []))
            for word in words:
                if word.startswith("--"):
                    assert re.search(rf"{re.escape(word.partition('=')[0])}\b", text), f"{page.name}: {line}"
                    checked += 1
    assert checked > 12


def test_the_exit_codes_are_the_same_in_help_readme_and_docs() -> None:
    told = " ".join(help_of().split())
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    page = (ROOT / "docs" / "exit_codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE))
    assert rows == {str(code): meaning for code, meaning in EXIT_CODES.items()}
    assert ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) in told
    assert ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) in readme


def test_no_command_ends_with_a_code_that_is_not_documented() -> None:
    ends = re.compile(r"(?:typer\.Exit|sys\.exit|SystemExit)\((?:boundary\.)?(\d+|[A-Z_]+)\)")
    package = ROOT / "src" / "evenhand"
    files = [*package.glob("cli/*.py"), *package.glob("console/*.py"), *package.glob("methods/**/commands.py")]
    used = {
        int(getattr(boundary, code, code)) for file in files for code in ends.findall(file.read_text(encoding="utf-8"))
    }
    assert used >= {boundary.TOO_MANY_ROWS, boundary.INTERRUPTED}
    assert used <= set(EXIT_CODES)


def test_every_extra_that_an_error_names_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


def test_every_link_in_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_opens_with_the_two_commands() -> None:
    head = (ROOT / "README.md").read_text(encoding="utf-8")[:200]
    assert head.index("make audit") < head.index("make test")


def test_make_targets_named_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8")):
            assert target in targets, f"{page.name}: make {target}"


def imported_at_the_top(file: Path) -> list[str]:
    """Modules that a file imports whenever it is imported itself."""
    found = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_core_dependencies_are_what_is_imported_at_the_top() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[<>=\[~]", name)[0].replace("-", "_") for name in project["dependencies"]}
    core |= {"yaml"} if "pyyaml" in core else set()
    core |= {"sklearn"} if "scikit_learn" in core else set()
    local = {"torch", "transformers", "tokenizers", "safetensors", "accelerate", "peft", "trl"}
    inner = {  # imported only by code that already holds a model
        "decode.py", "estimator.py", "kv.py", "logits.py", "models.py", "peer_decode.py", "scoring.py",
    }  # fmt: skip
    for file in (ROOT / "src").rglob("*.py"):
        if "bridges" in file.relative_to(ROOT).parts:  # each is optional and may import its own framework
            continue
        for module in imported_at_the_top(file):
            assert not module.startswith("evenhand.bridges") or module == "evenhand.bridges.serve.wire", file.name
            root = module.partition(".")[0]
            assert root not in local or file.name in inner, f"{file.name} imports {module} at the top"
            if root not in sys.stdlib_module_names and root not in core | local:
                assert root in {"evenhand", "pydantic_core", "markupsafe"}, f"{file.name} imports {module}"


def test_every_imported_module_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for file in (ROOT / "src").rglob("*.py"):
        if "__pycache__" not in file.parts:
            assert str(file.relative_to(ROOT)) in tracked, file


@pytest.mark.parametrize("statement", ["import evenhand", "from evenhand.cli.main import app"])
def test_light_imports(statement: str) -> None:
    heavy = {"torch", "transformers", "matplotlib", "scipy", "polars"}
    code = f"{statement}\nimport sys; print(','.join({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_page_or_module_names_a_machine_or_a_registry() -> None:
    hosts = ("py" + "pi.org", "python" + "hosted", "npm" + "js", "/ro" + "ot/", "/wo" + "rk/")
    for file in [*PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "Makefile"]:
        text = file.read_text(encoding="utf-8")
        assert not [host for host in hosts if host in text], file
