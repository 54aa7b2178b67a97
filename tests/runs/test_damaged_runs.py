"""Damaged run folders given to report, show, load and sample: a sentence that names the file, never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from evenhand.cli.main import app
from evenhand.errors import BadInput, EvenhandError
from evenhand.files import read_json, write_json
from evenhand.runs.load import load
from evenhand.runs.tables import write_table

SEEDS = 40
"""Mutations of one part; six parts make 240."""
ODD = (None, True, 0, -1.5, 10**30, "text", "", [], {}, [[]], {"a": {"b": None}}, ["x"], "\ud800", float(2**60))


def used(folder: Path) -> list[str]:
    """Read a run in every way; returns the sentences, and raises whatever is no EvenhandError."""
    said = []
    out = folder.parent / "labels.csv"
    for words in (["report", str(folder)], ["show", str(folder)], ["sample", str(folder), "--out", str(out)]):
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            if not isinstance(result.exception, EvenhandError):
                raise result.exception
            said.append(str(result.exception))
        out.unlink(missing_ok=True)
    try:
        run = load(folder)
        run.findings_frame()
        run.rows.height  # noqa: B018
        for path in sorted((folder / "service").glob("*.parquet")):
            run.table(path.stem)
    except EvenhandError as error:
        said.append(str(error))
    return said


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value within a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in parts for found in nodes(part, (*path, key)))]


def edited(value: Any, draw: random.Random) -> Any:
    """A copy with one value replaced by an odd one, or taken out."""
    value = json.loads(json.dumps(value))
    shallow = [path for path in nodes(value) if 0 < len(path) <= draw.choice((1, 2, 4, 7))]
    *way, last = draw.choice(shallow)
    holder = value
    for key in way:
        holder = holder[key]
    if draw.random() < 0.4:
        del holder[last]
    else:
        holder[last] = draw.choice(ODD)
    return value


def bytes_changed(data: bytes, draw: random.Random) -> bytes:
    """Damage that a disk or an editor makes."""
    at = draw.randrange(len(data))
    return draw.choice(
        [
            b"", data[:at], data + b"\0" * 8, draw.randbytes(200), data[:at] + draw.randbytes(4) + data[at + 4 :],
            data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :], data[at:], b"[" * 200_000, b"{}\n", b"null",
        ]
    )  # fmt: skip


def table_changed(frame: pl.DataFrame, draw: random.Random) -> pl.DataFrame:
    """A table that is whole, and not the one of the run."""
    column = draw.choice(frame.columns)
    kind = draw.choice([pl.Int8, pl.String, pl.Binary, pl.Duration, pl.Null, pl.List(pl.Int64)])
    return draw.choice(
        [
            frame.drop(column), frame.rename({column: "other"}), frame.head(0), frame.head(draw.randrange(frame.height)),
            frame.with_columns(pl.lit(None, dtype=kind).alias(column)), pl.concat([frame, frame]), frame.select(column),
            frame.with_columns(pl.lit("odd").alias(column)), pl.DataFrame({"x": [1]}),
        ]
    )  # fmt: skip


def damage(folder: Path, draw: random.Random, *, old: bool) -> str:
    """One change to a run folder; returns what it was."""
    tables = sorted((folder / "service").rglob("*.parquet"))  # inputs/ is read by a resumed run alone
    path = draw.choice([folder / "manifest.json", folder / "findings.json", draw.choice(tables), draw.choice(tables)])
    how = draw.choice(["bytes", "bytes", "gone", "folder", "contents", "contents", "contents"])
    if how == "bytes":
        path.write_bytes(bytes_changed(path.read_bytes(), draw))
    elif how in ("gone", "folder"):
        path.unlink()
        if how == "folder":
            path.mkdir()
    elif path.suffix == ".json":
        write_json(path, edited(read_json(path), draw), seal=not old)
    else:
        frame = table_changed(pl.read_parquet(path), draw)
        if old:
            frame.write_parquet(path)
        else:
            write_table(path, frame)
    return f"{how} {path.name}"


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("old", [True, False], ids=["without checksums", "with checksums"])
def test_no_damage_to_a_run_ends_in_a_traceback(
    run_copy: Callable[..., Path], tmp_path: Path, old: bool, part: int, capfd: pytest.CaptureFixture[str]
) -> None:
    # With checksums, a change of contents that carries a right checksum is made by a program alone: left to the test below.
    whole = run_copy("whole", old=old)
    assert used(whole) == []
    told = 0
    for seed in range(part * SEEDS, (part + 1) * SEEDS):
        draw = random.Random(seed)
        folder = tmp_path / "damaged"
        shutil.copytree(whole, folder)
        what = damage(folder, draw, old=True)
        try:
            said = used(folder)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {what}") from error
        assert all(str(folder) in text for text in said), (seed, what, said)
        assert old or said, f"seed {seed}: {what} was not noticed"
        told += bool(said)
        shutil.rmtree(folder)
    assert told > SEEDS // 4
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("schema", 99, "The manifest has schema 99; this version reads 1"),
        ("plan", [], "plan is missing or of the wrong type (list)"),
        ("timings", {"service": "long"}, "timings.service is missing or of the wrong type (str)"),
        ("state", None, "state is missing or of the wrong type (NoneType)"),
        ("audits", "service", "audits is missing or of the wrong type (str)"),
    ],
)
def test_a_manifest_that_lacks_what_readers_need_is_named(
    run_copy: Callable[..., Path], key: str, value: Any, said: str
) -> None:
    folder = run_copy("run")
    path = folder / "manifest.json"
    write_json(path, {**read_json(path), key: value})
    sentences = used(folder)
    assert len(sentences) == 4
    assert all(text.startswith(f"{path}: {said}") for text in sentences)


def test_a_finding_with_an_unknown_field_is_named(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("run")
    path = folder / "findings.json"
    found = read_json(path)
    found["audits"]["service"]["findings"][3]["colour"] = "red"
    write_json(path, found)
    assert all("audits.service.findings[3] has the unknown field 'colour'" in text for text in used(folder))


def test_an_audit_that_this_version_does_not_know_leaves_the_others_readable(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("run")
    path = folder / "findings.json"
    found = read_json(path)
    found["audits"]["martian"] = {**found["audits"]["service"], "audit": "martian"}
    write_json(path, found)
    assert used(folder) == []
    with pytest.raises(BadInput, match=r"The run holds no audit 'martian'\. It holds: service\."):
        load(folder, "martian")


def test_what_is_no_run_says_what_it_is(run_copy: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert all("This is a file, not a run folder" in text for text in used(tmp_path / "file"))
    assert all("There is no such folder" in text for text in used(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    assert all("holds no run (there is no manifest.json)" in text for text in used(tmp_path / "empty"))
    (tmp_path / "empty" / "adapter_config.json").write_text("{}")
    assert all("It holds an adapter" in text for text in used(tmp_path / "empty"))
    folder = run_copy("run")
    shutil.rmtree(folder / "service")
    assert all(str(folder / "service") in text for text in used(folder))


def test_an_unfinished_run_says_how_to_finish_it(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("run")
    (folder / "findings.json").unlink()
    write_json(folder / "manifest.json", {**read_json(folder / "manifest.json"), "state": "started"})
    assert {text.partition(": ")[2] for text in used(folder)} == {"The run is not finished. Finish it with --resume."}
