"""`report`, `show`, `sample` and `load` on every kind of run: a result, or one sentence that says what the run holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import evenhand
from evenhand.cli.main import app
from evenhand.config import checked, make_config
from evenhand.errors import BadInput, EvenhandError
from evenhand.runs.runner import run_audits

Builder = Callable[[Path, Any, pytest.MonkeyPatch], Path]
BUILDERS: dict[str, Builder] = {}


def kind(name: str) -> Callable[[Builder], Builder]:
    """Register how a kind of run is made: a function of an empty folder, the support modules and a monkeypatch."""

    def add(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return add


def _organism(audit: str) -> None:
    @kind(audit)
    def made(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
        settings = {"only": (audit,), "limit": 8, "repetitions": 1, "draws": 100, "device": "cpu"}
        run_audits(make_config(models=("organism/aligned",), **settings), folder / "run")
        return folder / "run"


for _audit in ("reward", "affirmation", "difference", "transfer", "safety"):
    _organism(_audit)


@kind("service")
def _service(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    rows = [
        {
            "group": g,
            "name": f"{g}{n}",
            "stem": f"s{s}",
            "prompt": f"{g}{n} s{s}",
            "response": ("Here.", "I'm sorry.")[n % 2],
        }
        for g in "ab"
        for n in range(3)
        for s in range(3)
    ]
    frame = pl.DataFrame(rows)
    columns: dict[str, Any] = {"group": "group", "clusters": ["name", "stem"], "outcome": "response"}
    evenhand.audit(responses=frame, out=folder / "run", draws=100, reference_group="a", **columns)
    return folder / "run"


@kind("stages")
def _stages(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    stages = {"base": "organism/base", "sft": "organism/sft"}
    settings = {"only": ("reward",), "limit": 8, "draws": 100, "device": "cpu"}
    run_audits(make_config(models=tuple(stages.values()), stages=stages, **settings), folder / "run")
    return folder / "run"


@kind("rate")
def _rate(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    from evenhand.methods.pluralism.rating.audit import run_rating
    from evenhand.methods.pluralism.rating.config import PluralismConfig

    rows = [
        {"item": f"i{i}", "rater": f"r{r}", "rating": ("safe", "unsafe")[(i + r * (r > 3)) % 2], "gender": "MW"[r > 3]}
        for i in range(8)
        for r in range(8)
    ]
    pl.DataFrame(rows).write_csv(folder / "people.csv")
    config = PluralismConfig(ratings=folder / "people.csv", draws=100, permutations=99, reml_draws=0)
    run_rating(config, folder / "run")
    return folder / "run"


@kind("drift")
def _drift(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    from evenhand.methods.dart.config import DriftConfig
    from evenhand.methods.dart.drift.audit import run_drift

    toy = support("difference_toy")
    rows = toy.toy_rows({"x": 6}, split="test")
    for name, text in (("before", toy.FAIR), ("after", toy.UNFAIR)):
        toy.write_csv(folder / f"{name}.csv", [{**r, "response": f"{text}\nConclusion: {r['gold']}"} for r in rows])
    files = {"baseline": str(folder / "before.csv"), "candidate": str(folder / "after.csv")}
    run_drift(checked(DriftConfig, **files, judge="rule", draws=100), folder / "run")
    return folder / "run"


@kind("repair tsdi")
def _tsdi(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    from evenhand.methods.tsdi.config import TsdiConfig
    from evenhand.methods.tsdi.estimate.pipeline import run_tsdi

    run_tsdi(TsdiConfig(model="organism/aligned", draws=16, fixed=True, length=2, device="cpu"), folder / "run")
    return folder / "run"


@kind("repair dart")
def _dart(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    support("dart_toy").Studio(folder).install(patch).repair("run")
    return folder / "run"


@kind("sweep tsdi")
def _sweep(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    support("sweep_toy").Studio(folder).install(patch).sweep("run", peers=("none",))
    return folder / "run"


@kind("corpus dedup")
def _dedup(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    (folder / "in.csv").write_text("id,text\n1,one short text\n2,one short text\n3,something else entirely\n")
    done = CliRunner().invoke(app, ["corpus", "dedup", str(folder / "in.csv"), "--out", str(folder / "kept")])
    assert done.exit_code == 0, done.output
    return folder / "kept"


@kind("corpus build")
def _build(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    from evenhand.methods.pluralism.corpus.build import run_build
    from evenhand.methods.pluralism.corpus.config import BuildConfig

    scripted = support("../methods/pluralism/corpus/scripted")
    scripted.write_prompts(folder / "in.csv", {3: 6, 4: 2}, none=1)
    config = checked(
        BuildConfig, items=str(folder / "in.csv"), classifier="scripted/c", generator="scripted/g", attempts=0
    )
    run_build(
        config, folder / "run",
        engines={"classifier": scripted.ScriptedClassifier(), "generator": scripted.ScriptedGenerator()},
    )  # fmt: skip
    return folder / "run"


@kind("corpus sweep")
def _thresholds(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    run = _build(folder, support, patch)
    done = CliRunner().invoke(app, ["corpus", "sweep", str(run), "--out", str(folder / "sweep")])
    assert done.exit_code == 0, done.output
    return folder / "sweep"


@kind("plug-in that is not installed")
def _plugin(folder: Path, support: Any, patch: pytest.MonkeyPatch) -> Path:
    done: Path = support("plugin_toy").write_run(folder / "run")
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, support: Any) -> Iterator[Callable[[str], Path]]:
    """``runs(kind)`` is a run of that kind, made once."""
    made: dict[str, Path] = {}

    def run_of(name: str) -> Path:
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                made[name] = BUILDERS[name](tmp_path_factory.mktemp("kind"), support, patch)
        return made[name]

    return run_of


def told(*words: str) -> str:
    """What a command printed; raises what it raised."""
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if done.exception is not None:
        raise done.exception
    return done.output


NO_RUN = {"corpus dedup": "what `evenhand corpus dedup` kept", "corpus sweep": "thresholds of `evenhand corpus sweep`"}
NO_GRADER = {
    "reward", "stages", "affirmation", "difference", "rate", "drift", "repair dart", "repair tsdi",
    "plug-in that is not installed",
}  # fmt: skip
SHOWN = {
    "service": "I'm sorry.", "reward": "m_ref", "stages": "m_ref", "affirmation": "declared", "difference": "tolerant",
    "transfer": "rows", "safety": "rows", "rate": "rater_id", "drift": "severity", "repair dart": "severity",
    "repair tsdi": "standard_error", "sweep tsdi": "rows", "plug-in that is not installed": "harmful answer",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_every_kind_of_run_can_be_read_or_says_what_it_holds(
    runs: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    folder = runs(name)
    sample = ("sample", str(folder), "--out", str(tmp_path / "labels.csv"))
    if name in NO_RUN:
        for go in (lambda: told("report", str(folder)), lambda: told("show", str(folder)), lambda: told(*sample),
                   lambda: evenhand.load(folder)):  # fmt: skip
            with pytest.raises(BadInput, match=NO_RUN[name]):
                go()
        return
    run = evenhand.load(folder)
    first = run[run.audits[0]]
    assert first.rows.height
    assert all(audit in repr(run) for audit in run)
    assert "<script" not in run._repr_html_()
    if name == "corpus build":
        for words in (("report", str(folder)), ("show", str(folder)), sample):
            with pytest.raises(BadInput, match=r"a corpus build, which has no findings\. Open corpus/card\.md"):
                told(*words)
        with pytest.raises(BadInput, match="corpus build"):
            _ = run.findings
        with pytest.raises(BadInput, match="corpus build"):
            run.plot("corpus")
        return
    assert first.findings_frame().height == first.findings.height == len(first.records) > 0
    assert run.findings.height >= first.findings.height
    if name.startswith("plug-in"):  # the generic section has tables only
        with pytest.raises(BadInput, match="has no figure"):
            run.plot(first.audit)
    else:
        assert run.plot(first.audit).svg.startswith("<svg ")
    assert told("report", str(folder)).strip().endswith("report.html")
    assert SHOWN[name] in told("show", str(folder), "--limit", "2")
    assert told("show", str(folder), "--limit", "1", "--csv").count("\n") >= 2
    if name == "service":
        assert "responses to label" in told(*sample)
    else:
        said = "has no grader to calibrate" if name in NO_GRADER else "Human labels calibrate the service audit"
        with pytest.raises(BadInput, match=said):
            told(*sample)


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_filter_of_show_gives_rows_or_a_sentence(runs: Callable[[str], Path], name: str) -> None:
    folder = runs(name)
    draw = random.Random(0)
    for option in ("--group", "--config", "--name", "--stem", "--label", "--grader", "--audit"):
        with pytest.raises(EvenhandError) as found:
            told("show", str(folder), option, f"martian{draw.randrange(9)}")
        assert "martian" in str(found.value) or "have no" in str(found.value)


def test_an_audit_without_service_is_usable_from_python(tmp_path: Path) -> None:
    run = evenhand.audit("organism/aligned", methods=["reward"], limit=8, draws=100, report=False, out=tmp_path / "run")
    assert list(run) == ["reward"]
    frame = run["reward"].findings_frame()
    assert frame.height == run.findings.height == len(run["reward"].records) > 0
    assert frame.schema["estimate"] == pl.Float64
    assert run.rows().height
    assert evenhand.load(run.folder, "reward").result["audit"] == "reward"


def test_a_run_without_any_finding_has_a_frame_with_columns(runs: Callable[[str], Path], tmp_path: Path) -> None:
    import shutil

    from evenhand.files import read_json, write_json

    folder = tmp_path / "run"
    shutil.copytree(runs("service"), folder)
    found = read_json(folder / "findings.json")
    found["audits"]["service"]["findings"] = []
    write_json(folder / "findings.json", found)
    assert evenhand.load(folder, "service").findings_frame().schema["estimate"] == pl.Float64
    assert evenhand.load(folder).findings.schema["estimate"] == pl.Float64


CHECKED = ("service", "safety")


@pytest.fixture(scope="module")
def checked_repair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TSDI repair whose result was audited: the run holds its own method and those audits."""
    folder = tmp_path_factory.mktemp("checked") / "run"
    settings = ("--draws", "16", "--fixed", "--length", "2", "--device", "cpu", "--limit", "4", "--repetitions", "1")
    checks = (word for audit in CHECKED for word in ("--check", audit))
    told("repair", "tsdi", "organism/aligned", *settings, *checks, "--out", str(folder))
    return folder


@pytest.mark.parametrize("audit", ["tsdi", *CHECKED])
def test_every_method_of_a_run_can_be_shown(checked_repair: Path, audit: str, tmp_path: Path) -> None:
    assert told("show", str(checked_repair), "--audit", audit, "--limit", "1", "--csv").count("\n") >= 2
    sample = ("sample", str(checked_repair), "--audit", audit, "--out", str(tmp_path / "labels.csv"))
    if audit == "service":
        assert "responses to label" in told(*sample)
        return
    with pytest.raises(BadInput, match=r"no grader to calibrate|Human labels calibrate the service audit"):
        told(*sample)
