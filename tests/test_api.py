"""Evenhand from Python: frames of any library, every audit alone and together, event loops, and where runs are kept."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import evenhand
from evenhand.errors import BadInput


@pytest.fixture(autouse=True)
def folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs without ``out`` are kept below the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENHAND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs"


def rows(outcome: Callable[[bool], Any]) -> list[dict[str, Any]]:
    draw = random.Random(3)
    return [
        {"who": group, "first_name": f"{group}{name}", "template": f"T{stem}", "refused": outcome(draw.random() < p)}
        for group, p in (("a", 0.2), ("b", 0.6))
        for name in range(6)
        for stem in range(6)
    ]


SETTINGS: dict[str, Any] = {
    "group": "who", "clusters": ["first_name", "template"], "outcome": "refused", "reference_group": "a", "draws": 200,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "limit": 8, "repetitions": 1, "draws": 100, "permutations": 99, "reml_draws": 0, "rating_items": 2, "wordings": 1,
    "rating_axes": ("gender",), "bias_draws": 8, "max_tokens": 16,
}  # fmt: skip
METHODS = ("service", "reward", "affirmation", "difference", "safety", "pluralism")


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame, lambda r: pl.DataFrame(r).to_arrow()])
@pytest.mark.parametrize("outcome", [bool, int, float, lambda yes: "refusal" if yes else "answer"])
def test_any_frame_and_any_yes_or_no_gives_the_same_findings(make: Any, outcome: Any) -> None:
    run = evenhand.audit(labels=make(rows(outcome)), report=False, **SETTINGS)
    frame = pl.DataFrame(run.findings)
    frame = frame.filter((pl.col("estimand") == "risk_difference") & (pl.col("outcome") == "declined"))
    expected = evenhand.audit(labels=pl.DataFrame(rows(bool)), report=False, **SETTINGS).findings
    assert frame["estimate"].to_list() == expected.filter(pl.col("id") == frame["id"][0])["estimate"].to_list()
    assert frame["p_adjusted"][0] < 0.05


@pytest.mark.parametrize(
    ("make", "kind"), [(pl.DataFrame, pl.DataFrame), (pd.DataFrame, pd.DataFrame), (pa.Table.from_pylist, pa.Table)]
)
def test_frames_come_back_in_the_library_of_the_caller(make: Any, kind: type) -> None:
    run = evenhand.audit(labels=make(rows(bool)), report=False, **SETTINGS)
    behind = run["service"].rows_behind("risk_difference", group="b")
    for frame in (run.findings, run.verdicts, run.rows(), run["service"].findings, behind):
        assert type(frame) is kind
    assert len(behind) == 72


def test_the_library_of_frames_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    run = evenhand.audit(labels=pl.DataFrame(rows(bool)), frames="pandas", report=False, **SETTINGS)
    assert type(run.findings) is pd.DataFrame
    assert run.findings["estimate"].dtype == "float64"
    assert type(evenhand.load(run.folder, frames="pyarrow").findings) is pa.Table
    with pytest.raises(BadInput, match="Frames cannot be returned as 'dask'"):
        evenhand.load(run.folder, frames="dask")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        BadInput, match=r"Frames as pandas need pandas, which is not installed\. Run: pip install pandas"
    ):
        evenhand.load(run.folder, frames="pandas")


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame])
def test_responses_in_a_frame_are_graded(make: Any) -> None:
    texts = rows(lambda yes: "I'm sorry, but I can't help." if yes else "Here it is.")
    frame = make([{**row, "prompt": f"{row['first_name']} asks {row['template']}"} for row in texts])
    run = evenhand.audit(responses=frame, report=False, **SETTINGS)
    found = pl.DataFrame(run.findings).filter(
        (pl.col("estimand") == "rate") & (pl.col("outcome") == "declined") & (pl.col("slice") == "")
    )
    expected = [sum(r["refused"][0] == "I" for r in texts if r["who"] == group) / 36 for group in "ab"]
    assert sorted(found["estimate"].to_list()) == pytest.approx(sorted(expected))


def test_a_missing_value_of_a_pandas_column_is_a_missing_label() -> None:
    frame = pd.DataFrame(rows(int))
    frame["refused"] = frame["refused"].astype(float)
    frame.loc[3, "refused"] = None
    run = evenhand.audit(labels=frame, report=False, frames="polars", **SETTINGS)
    assert run["service"].result["missing"] == 1
    assert run.rows().filter(pl.col("label").is_null())["missing"].to_list() == ["label_missing"]


def test_a_nullable_outcome_of_pandas_is_read() -> None:
    frame = pd.DataFrame(rows(bool))
    frame["refused"] = frame["refused"].astype("boolean")
    frame.loc[3, "refused"] = pd.NA
    run = evenhand.audit(labels=frame, report=False, **SETTINGS)
    assert run["service"].result["missing"] == 1


def test_what_is_not_a_frame_is_refused(folder_of_runs: Path) -> None:
    with pytest.raises(BadInput, match=r"is a list\. Give a path, or a polars, pandas or Arrow frame"):
        evenhand.audit(labels=rows(bool), **SETTINGS)
    with pytest.raises(BadInput, match="at most two are used: names, then stems"):
        evenhand.audit(labels=pl.DataFrame(rows(bool)), **{**SETTINGS, "clusters": ["a", "b", "c"]})
    with pytest.raises(BadInput, match=r"methods takes a list, not 'service'\. Write methods=\['service'\]"):
        evenhand.audit(labels=pl.DataFrame(rows(bool)), methods="service", **SETTINGS)
    assert not list(folder_of_runs.glob("*"))


def test_units_may_be_named_and_a_unit_left_out_is_not_looked_for() -> None:
    frame = pl.DataFrame(rows(bool)).rename({"template": "stem"})

    def stems(clusters: Any) -> int | None:
        run = evenhand.audit(labels=frame, report=False, **{**SETTINGS, "clusters": clusters})
        (found,) = (f for f in run["service"].records if f.estimand == "omnibus" and f.outcome == "declined")
        assert found.test is not None
        return len({f.slice["stem"] for f in run["service"].records if f.estimand == "stem_rate"})

    assert stems(["first_name", "stem"]) == stems({"stem": "stem", "name": "first_name"}) == 6
    assert stems(["first_name"]) == stems({"name": "first_name"}) == 0
    with pytest.raises(BadInput, match=r"'first_name' does not say which unit it is"):
        stems("first_name")
    with pytest.raises(BadInput, match=r"There is no unit 'template'\. The units are: name, stem\."):
        stems({"template": "stem"})


def test_a_column_that_is_left_out_stays_an_attribute() -> None:
    frame = pl.DataFrame(rows(bool)).rename({"template": "stem"})
    run = evenhand.audit(
        labels=frame.unique(["who", "first_name"]), report=False, **{**SETTINGS, "clusters": ["first_name"]}
    )
    assert "attribute.stem" in run.rows().columns
    assert "stem" not in run.rows().columns


def test_errors_name_the_frame_and_leave_nothing_behind(folder_of_runs: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame(rows(lambda yes: "refusal" if yes else "nonsense"))
    with pytest.raises(BadInput, match=r"^the frame 'labels', row \d+: The label 'nonsense' is not known"):
        evenhand.audit(labels=frame, **SETTINGS)
    with pytest.raises(BadInput, match="nonsense"):
        evenhand.audit(labels=frame, out=tmp_path / "mine", **SETTINGS)
    assert not list(folder_of_runs.glob("*"))
    assert not (tmp_path / "mine").exists()


def test_a_run_is_kept_below_runs_until_it_is_discarded(folder_of_runs: Path) -> None:
    runs = [evenhand.audit(labels=pl.DataFrame(rows(bool)), report=False, **SETTINGS) for _ in range(2)]
    folders = [run.folder for run in runs]
    assert sorted(folders) == sorted(folder_of_runs.iterdir())
    assert all(str(run.folder) in repr(run) and str(run.folder) in run._repr_html_() for run in runs)
    del runs[1]
    assert folders[1].is_dir()
    runs[0].discard()
    assert [path.exists() for path in folders] == [False, True]
    assert "(discarded)" in repr(runs[0])
    with pytest.raises(BadInput, match="The folder holds no run"):
        runs[0].discard()


def test_a_frame_is_kept_with_its_run_which_can_be_resumed(tmp_path: Path) -> None:
    frame = pl.DataFrame(rows(bool))
    run = evenhand.audit(labels=frame, out=tmp_path / "run", **SETTINGS)
    assert (tmp_path / "run" / "report.html").exists()
    kept = pl.read_parquet(tmp_path / "run" / "inputs" / "labels.parquet")
    assert kept["refused"].unique().sort().to_list() == ["answer", "refusal"]
    again = evenhand.audit(labels=frame, out=tmp_path / "run", resume=True, **SETTINGS)
    assert again.findings.equals(run.findings)
    with pytest.raises(BadInput, match=r"already holds a run\. Continue it with resume=True"):
        evenhand.audit(labels=frame, out=tmp_path / "run", **SETTINGS)
    with pytest.raises(BadInput, match="The frame 'labels' differs from the one"):
        evenhand.audit(labels=frame.head(60), out=tmp_path / "run", resume=True, **SETTINGS)
    assert evenhand.load(tmp_path / "run").findings.equals(run.findings)


def test_former_names_are_accepted_with_a_warning() -> None:
    frame = pl.DataFrame(rows(bool))
    settings = {name: value for name, value in SETTINGS.items() if name != "reference_group"}
    with pytest.warns(DeprecationWarning, match=" is now ") as warned:
        run = evenhand.audit(labels=frame, only=["service"], reference="a", report=False, **settings)
    assert [str(one.message) for one in warned] == [
        "only= is now methods=",
        "reference= is now reference_group= (a model is given as reference_model=)",
    ]
    assert {one.filename for one in warned} == {__file__}
    new = evenhand.audit(labels=frame, methods=["service"], reference_group="a", report=False, **settings)
    assert run.findings.equals(new.findings)
    with pytest.raises(BadInput, match="reference= is the former name of reference_group=, which is also given"):
        evenhand.audit(labels=frame, reference="a", **SETTINGS)


@pytest.mark.parametrize("method", METHODS)
def test_every_audit_alone(method: str) -> None:
    more = {"reference_model": "organism/sft"} if method == "safety" else {}
    run = evenhand.audit("organism/aligned", methods=[method], **SMALL, **more)
    assert list(run) == [method]
    assert set(run.findings["method"]) == {method}
    assert run.rows().height
    assert run.plot().svg.startswith("<svg ")
    assert repr(run[method]).startswith(f"{method} audit of ")


def test_all_audits_together() -> None:
    run = evenhand.audit("organism/aligned", **SMALL)
    assert tuple(run) == run.audits == METHODS
    assert len(run) == 6
    assert "reward" in run
    assert "transfer" not in run
    assert run.findings["method"].unique(maintain_order=True).to_list() == list(METHODS)
    assert run.findings["id"].is_unique().all()
    assert run.verdicts["method"].unique(maintain_order=True).to_list() == list(METHODS)
    assert run.findings.height == sum(run[name].findings.height for name in run)
    with pytest.raises(BadInput, match=r"The run holds no audit 'transfer'\. It holds: service, reward"):
        run["transfer"]
    with pytest.raises(BadInput, match=r"The run holds 6 audits\. Name one: service, reward"):
        run.rows()
    assert "left out: transfer" in repr(run)


def test_it_works_inside_a_running_event_loop(fault_module: ModuleType) -> None:
    data = pl.DataFrame(
        [
            {"group": g, "name": f"{g}{n}", "prompt": f"{g}{n} asks {s}"}
            for g in "ab"
            for n in range(3)
            for s in range(2)
        ]
    )
    common = {"methods": ["service"], "report": False, "repetitions": 1, "draws": 100, "reference_group": "a"}

    async def notebook(url: str) -> tuple[Any, Any]:
        local = evenhand.audit("organism/aligned", data=data, max_tokens=8, grader=("lexicon",), **common)
        remote = evenhand.audit(f"{url}#mock", data=data, grader=("lexicon",), **common)
        await asyncio.sleep(0)
        return local, remote

    with fault_module.FaultServer() as server:
        local, remote = asyncio.run(notebook(server.url))
        assert sum(server.answered.values()) == 12
    assert local.rows().height == remote.rows().height == 12
    assert remote.rows()["text"].str.len_chars().min() > 0


def test_importing_evenhand_is_light() -> None:
    heavy = ("torch", "transformers", "polars", "numpy", "pandas", "pydantic")
    code = (
        "import sys, evenhand as eh; names = eh.__all__; eh.service, eh.reward, eh.dart, eh.tsdi, eh.pluralism;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = evenhand.nothing
