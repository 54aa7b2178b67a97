"""Checksums: every flipped bit of every kind of file is noticed, edited files are named, files of older versions load."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evenhand.cli.main import app
from evenhand.errors import BadInput
from evenhand.files import read_json, write_json
from evenhand.runs.load import load
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table, write_table
from evenhand.seal import check_folder, check_table, parsed_json, write_checksums

FRAME = pl.DataFrame({"id": [f"r{k}" for k in range(40)], "value": [k / 7 for k in range(40)]})
VALUE = {"schema": 1, "rows": [1, 2.5, None, "text"], "inputs": {"xxh128": "0" * 32}}


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with one bit turned."""
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_every_flipped_bit_of_a_table_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, FRAME)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        with pytest.raises(BadInput, match=r"table\.parquet: The file was edited or damaged"):
            check_table(flipped(data, bit), path)
    for bit in random.Random(1).sample(range(8 * len(data)), 100):
        path.write_bytes(flipped(data, bit))
        with pytest.raises(BadInput, match=r"table\.parquet: The file was edited or damaged"):
            read_table(path)
    assert capfd.readouterr().err == ""


def test_a_table_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "service" / "items.parquet"
    write_table(path, FRAME)
    for other in (tmp_path / "service" / "grades.parquet", tmp_path / "reward" / "items.parquet"):
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes())
        with pytest.raises(BadInput, match=rf"{other.name}: The file was edited or damaged"):
            read_table(other)


def test_every_flipped_bit_of_a_json_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, VALUE)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        with pytest.raises(BadInput, match=r"value\.json: The file (was edited or damaged|is not valid JSON)"):
            parsed_json(flipped(data, bit), path)
    path.write_bytes(flipped(data, 999))
    with pytest.raises(BadInput, match=r"value\.json: The file was edited or damaged"):
        read_json(path)


def test_any_reader_of_parquet_and_json_reads_sealed_files(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", FRAME)
    assert pl.read_parquet(tmp_path / "t.parquet").equals(FRAME)
    assert pl.scan_parquet(tmp_path / "t.parquet").filter(pl.col("value") > 1).collect().height == 32
    assert pl.from_arrow(pq.read_table(tmp_path / "t.parquet")).equals(FRAME)  # type: ignore[union-attr]
    assert read_table(tmp_path / "t.parquet").equals(FRAME)
    write_json(tmp_path / "v.json", VALUE)
    told = json.loads((tmp_path / "v.json").read_text())
    assert told.pop("checksum").startswith("xxh128:")
    assert told == VALUE == read_json(tmp_path / "v.json")


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    one, two = (tmp_path / name / "service" / "t.parquet" for name in ("one", "two"))
    write_table(one, FRAME)
    write_table(two, FRAME)
    for name in ("a", "b"):
        write_json(tmp_path / f"{name}.json", VALUE)
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_files_of_older_versions_are_read_without_a_check(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "old.parquet")
    assert read_table(tmp_path / "old.parquet").equals(FRAME)
    for value in (VALUE, {}, [1, 2], "text"):
        (tmp_path / "old.json").write_text(json.dumps(value))
        assert read_json(tmp_path / "old.json") == value


@pytest.mark.parametrize("text", [json.dumps({"checksum": "xxh128:" + "0" * 32, **VALUE}), '{\n "checksum": 3}'])
def test_a_json_file_that_was_written_anew_is_not_taken_for_an_old_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(BadInput, match="edited or damaged"):
        read_json(tmp_path / "v.json")


def test_json_that_is_nested_too_deeply_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("[" * 100_000)
    with pytest.raises(BadInput, match="nested too deeply"):
        read_json(tmp_path / "v.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(BadInput, match=r"folder\.json: The file cannot be read"):
        read_json(tmp_path / "folder.json")


def test_a_damaged_table_of_an_older_version_is_a_sentence_and_no_backtrace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.parquet"
    FRAME.write_parquet(path)
    data = path.read_bytes()
    draw = random.Random(5)
    said = []
    for _ in range(300):
        path.write_bytes(flipped(data, draw.randrange(8 * len(data))))
        try:
            read_table(path)
        except BadInput as error:
            said.append(str(error))
    assert len(said) > 50
    assert all("The table cannot be read" in text for text in said)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_an_edited_table_of_a_run_is_named(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("edited")
    path = folder / "service" / "grades.parquet"
    pl.read_parquet(path).with_columns(label=pl.lit("answer")).write_parquet(path)
    with pytest.raises(BadInput, match=r"grades\.parquet: The file was edited or damaged after it was written"):
        load(folder).rows  # noqa: B018


def test_edited_findings_and_manifests_are_named(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("edited")
    for name in ("findings.json", "manifest.json"):
        path = folder / name
        value = read_json(path)
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b'"schema": 1', b'"schema": 1 ', 1))
        with pytest.raises(BadInput, match=rf"{name}: The file was edited or damaged"):
            load(folder).findings  # noqa: B018
        write_json(path, value, seal=False)  # the checksum taken out altogether
        with pytest.raises(BadInput, match=rf"{name}: The file was edited or damaged"):
            load(folder).findings  # noqa: B018
        path.write_bytes(whole)
    assert load(folder).findings


def test_a_missing_table_is_named(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("short")
    (folder / "service" / "measures.parquet").unlink()
    with pytest.raises(BadInput, match=r"measures\.parquet: The table is missing"):
        load(folder)


def test_a_run_of_an_older_version_loads_and_says_that_it_is_unchecked(
    run_copy: Callable[..., Path], whole_run: Path
) -> None:
    old, new = load(run_copy("old", old=True)), load(whole_run)
    assert (old.run.has_checksums, new.run.has_checksums) == (False, True)
    assert old.findings == new.findings
    assert old.rows.equals(new.rows)
    for folder, noted in ((old.run.folder, True), (whole_run, False)):
        told = CliRunner().invoke(app, ["show", str(folder), "--limit", "1"])
        assert ("its files are read unchecked" in told.stderr) is noted


def test_an_older_run_may_be_resumed_and_stays_without_the_mark(tmp_path: Path) -> None:
    plan = {"audits": ["service"]}
    run = Run.start(tmp_path / "run", plan, resume=False)
    run.release()
    write_json(
        tmp_path / "run" / "manifest.json", {k: v for k, v in run.manifest.items() if k != "checksums"}, seal=False
    )
    again = Run.start(tmp_path / "run", plan, resume=True)
    again.release()
    assert not Run.open(tmp_path / "run").has_checksums


def test_a_folder_of_files_names_the_one_that_differs(tmp_path: Path) -> None:
    for name in ("a.safetensors", "config.json"):
        (tmp_path / name).write_bytes(name.encode() * 20)
    assert not check_folder(tmp_path)
    write_checksums(tmp_path, ["a.safetensors", "config.json"])
    assert check_folder(tmp_path)
    for name in ("a.safetensors", "config.json", "checksums.json"):
        data = (tmp_path / name).read_bytes()
        for bit in range(0, 8 * len(data), 3):
            (tmp_path / name).write_bytes(flipped(data, bit))
            with pytest.raises(BadInput, match=name):
                check_folder(tmp_path)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=r"There is no checksum of other\.bin"):
        check_folder(tmp_path, ["other.bin"])
    (tmp_path / "config.json").unlink()
    with pytest.raises(BadInput, match=r"config\.json: The file is missing"):
        check_folder(tmp_path)
