"""examples/plugin: one module, installed as its users would install it, takes part everywhere a built-in method does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evenhand
from evenhand import registry
from evenhand.cli.main import app
from evenhand.errors import BadInput

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"
SETTINGS = ("--dataset", "errands", "--limit", "12", "--repetitions", "2", "--draws", "100", "--device", "cpu")

Tell = Callable[..., str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds the example, installed offline by pip."""
    root = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, root / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    command = [*pip, *offline, "--target", str(root / "site"), str(root / "source")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root / "site"


@pytest.fixture(scope="module")
def installed(site: Path) -> Iterator[None]:
    """The example is installed in this process for the time of the module, and leaves nothing behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(site), *sys.path])
        patch.setattr(registry, "_plugins_loaded", False)
        patch.setattr(registry.METHODS, "_added", {})
        yield
    sys.modules.pop("evenhand_brevity", None)


@pytest.fixture(scope="module")
def tell(installed: None) -> Tell:
    """``tell("list", "audits")`` is what that command prints; it raises what the command raised."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
        if done.exception is not None and not (isinstance(done.exception, SystemExit) and done.exception.code == 0):
            raise done.exception
        return done.output

    return run


@pytest.fixture(scope="module")
def audited(tell: Tell, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder, what the command printed) of an audit of the organism by the plug-in's method."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, tell("audit", "organism/aligned", "--only", "brevity", *SETTINGS, "--out", str(folder))


def test_a_fresh_process_lists_what_the_package_brings(site: Path) -> None:
    source = Path(evenhand.__file__).parents[1]
    paths = os.pathsep.join((str(site), str(source)))
    command = [sys.executable, "-m", "evenhand", "list", "audits"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].split(maxsplit=1)[0] == "brevity"


@pytest.mark.parametrize(
    ("kind", "name"), [("methods", "brevity"), ("audits", "brevity"), ("datasets", "errands"), ("graders", "terse")]
)
def test_everything_it_brings_is_listed(tell: Tell, kind: str, name: str) -> None:
    assert any(line.startswith(name) for line in tell("list", kind).splitlines())


def test_its_dataset_can_be_shown(tell: Tell) -> None:
    shown = tell("datasets", "show", "errands", "--limit", "1")
    assert "written for this example" in shown
    assert "plan a trip to the zoo" in shown


def test_the_closing_screen_has_its_verdict_and_numbers(audited: tuple[Path, str]) -> None:
    screen = audited[1]
    assert "too few stems to tell" in screen
    assert "words, old against young (organism/aligned)" in screen
    assert "report.html" in screen


def test_its_page_holds_verdict_findings_and_rows(audited: tuple[Path, str]) -> None:
    page = (audited[0] / "report.html").read_text(encoding="utf-8")
    assert 'id="method-brevity"' in page
    assert "There are too few stems to tell" in page
    assert "mean words" in page
    assert "difference in words" in page
    assert "#responses?audit=brevity&amp;config=organism%2Faligned&amp;group=old" in page
    assert "My nephew would like to plan a trip to the zoo" in page
    for row in evenhand.load(audited[0], "brevity").rows.head(3).iter_rows(named=True):
        assert row["text"].splitlines()[0] in page


def test_show_filters_its_rows(audited: tuple[Path, str], tell: Tell) -> None:
    folder = str(audited[0])
    shown = tell("show", folder, "--group", "old", "--stem", "E2", "--csv")
    assert shown.splitlines()[0] == "config,item_id,repetition,group,stem,words,text"
    assert {tuple(line.split(",")[3:5]) for line in shown.splitlines()[1:] if line.startswith("organism")} == {
        ("old", "E2")
    }
    with pytest.raises(BadInput, match=r"No row has group 'cold'.*There are: old, young"):
        tell("show", folder, "--group", "cold")
    with pytest.raises(BadInput, match="Rows of the brevity audit have no label"):
        tell("show", folder, "--label", "answer")


def test_sample_says_that_there_is_nothing_to_calibrate(audited: tuple[Path, str], tell: Tell, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="The brevity audit has no grader to calibrate"):
        tell("sample", str(audited[0]), "--out", str(tmp_path / "labels.csv"))
    assert not (tmp_path / "labels.csv").exists()


def test_load_and_report_read_its_run(audited: tuple[Path, str], tell: Tell) -> None:
    run = evenhand.load(audited[0], "brevity")
    assert run.rows.height == 24
    assert run.findings_frame()["estimand"].to_list() == ["mean_words", "mean_words", "difference_in_words"]
    assert run.loaded.method.title == "Brevity"
    before = (audited[0] / "report.html").read_bytes()
    tell("report", str(audited[0]))
    assert (audited[0] / "report.html").read_bytes() == before


def test_it_runs_from_python(installed: None, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dataset": "errands", "limit": 4, "repetitions": 1, "draws": 100, "device": "cpu"}
    run = evenhand.audit("organism/aligned", methods=["brevity"], report=False, out=tmp_path / "run", **settings)
    assert run.audits == ("brevity",)
    rows = run["brevity"].rows
    assert set(rows["group"]) == {"old", "young"}
    assert rows["words"].min() >= 0


def test_its_grader_labels_the_service_audit(tell: Tell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ("audit", "organism/aligned", "--only", "service", "--grader", "terse", *SETTINGS)
    tell(*words, "--out", str(folder))
    rows = evenhand.load(folder, "service").rows
    assert set(rows["grader"]) == {"terse"}
    for label, evidence in rows.select("label", "evidence").iter_rows():
        assert label == ("failure" if int(evidence.removeprefix("words: ")) < 4 else "answer")


def test_without_the_package_its_run_can_still_be_read(
    audited: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evenhand.report.build import compose

    monkeypatch.setattr(registry.METHODS, "_added", {})
    assert "brevity" not in registry.METHODS
    page = compose(audited[0])
    assert [section.id for section in page.sections] == ["method-brevity"]
    assert "not installed" in page.sections[0].lede
    assert [verdict.headline for verdict in page.verdicts] == [
        "There are too few stems to tell whether answers to a group are shorter."
    ]
    with pytest.raises(
        BadInput, match=r"The brevity audit has no table of grades.*table\(NAME\): items, responses, words"
    ):
        _ = evenhand.load(audited[0], "brevity").rows
