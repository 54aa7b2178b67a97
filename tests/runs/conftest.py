"""A small real run that needs no model, and copies of it to damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import evenhand
from evenhand.files import read_json, write_json


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished service run over responses, with its report."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    rows = [
        {
            "group": group, "name": f"{group}{name}", "stem": f"s{stem}", "prompt": f"A task s{stem} for {group}{name}",
            "response": "I'm sorry, but I can't help." if (name + stem + (group == "b")) % 3 == 0 else "Here is the text.",
        }
        for group in "ab"
        for name in range(3)
        for stem in range(3)
    ]  # fmt: skip
    evenhand.audit(
        responses=pl.DataFrame(rows), group="group", clusters=["name", "stem"], outcome="response", out=folder, draws=100,
        reference_group="a",
    )  # fmt: skip
    return folder


@pytest.fixture
def run_copy(whole_run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """``run_copy("x")`` is a new copy of the run; with ``old=True`` as a version without checksums wrote it."""

    def copied(name: str, *, old: bool = False) -> Path:
        folder = tmp_path / name
        shutil.copytree(whole_run, folder)
        if old:
            for path in folder.rglob("*.parquet"):
                pl.read_parquet(path).write_parquet(path)
            manifest = read_json(folder / "manifest.json")
            write_json(
                folder / "manifest.json",
                {k: v for k, v in manifest.items() if k not in ("checksums", "tables")},
                seal=False,
            )
            write_json(folder / "findings.json", read_json(folder / "findings.json"), seal=False)
            assert "checksum" not in json.loads((folder / "findings.json").read_text())
        return folder

    return copied
