"""`evenhand corpus build` with the curator as classifier and generator: on its grammar, on DICES, and killed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.config import checked
from evenhand.datasets.shipped_texts import SIZES, grammar_lines
from evenhand.methods.pluralism.corpus.build import run_build
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.quality import REASONS
from evenhand.methods.pluralism.corpus.simhash import fingerprints, normalise
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS

from .scripted import ScriptedClassifier, ScriptedGenerator

CURATOR = "organism/curator"
FLOOR = 32
UNSEEN = {"failed", "not classified"}
"""Reasons that a local engine cannot give; test_build.py shows them with scripted engines."""


def settings(items: str, **more: Any) -> BuildConfig:
    return checked(BuildConfig, items=items, classifier=CURATOR, generator=CURATOR, **{"floor": FLOOR, **more})


def same_bytes(whole: Path, broken: Path) -> None:
    """Every file alike, but for journals, in which a block that was cut off stands twice, and times."""
    left, right = (
        {p.relative_to(folder): p for p in folder.rglob("*.*") if not p.name.startswith(".")}
        for folder in (whole, broken)
    )
    assert left.keys() == right.keys()
    assert any(name.name == "prompts.parquet" for name in left)
    for name, path in left.items():
        if name.name == "manifest.json":
            manifests = [json.loads(p.read_text(encoding="utf-8")) for p in (path, right[name])]
            for manifest in manifests:
                del manifest["created"], manifest["timings"], manifest["checksum"]
            assert manifests[0] == manifests[1]
        elif not name.name.endswith("journal.jsonl"):
            assert path.read_bytes() == right[name].read_bytes(), name


def killed_and_resumed(folder: Path, items: str, floor: int, *expand: str) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("organism_script.py")), str(folder), items, str(floor), *expand],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "-9", "-9", "-9", "-9", "0"], done.stderr
    same_bytes(folder / "whole", folder / "broken")


def nearest_synthetic(folder: Path) -> int:
    """The least distance in bits of a synthetic row of the table ``prompts`` from any other row, by comparing all with all."""
    prompts = pl.read_parquet(folder / "prompts.parquet")
    words = fingerprints([normalise(text) for text in prompts["text"].to_list()]).words
    apart = np.bitwise_count(words[:, None, :] ^ words[None, :, :]).sum(axis=2)
    np.fill_diagonal(apart, 64)
    made = prompts["synthetic"].to_numpy()
    assert made.any()
    return int(apart[made].min())


def adds_up(folder: Path, facts: Any) -> None:
    prompts = pl.read_parquet(folder / "prompts.parquet")
    counts = Counter(prompts["domain"].to_list())
    assert {row["domain"]: row["rows"] for row in facts["domains"] if row["rows"]} == dict(counts)
    assert sum(row["rows"] for row in facts["domains"]) == prompts.height == facts["rows"]["final"]
    assert all(row["rows"] == row["real"] + row["synthetic"] for row in facts["domains"])
    rows = facts["rows"]
    assert rows["real"] + rows["dropped"] + rows["unlabelled"] == rows["texts"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_whole_build_on_the_grammar(tmp_path: Path) -> None:
    """One test, so that the build, which takes a minute or two, is done once."""
    found = run_build(settings("grammar"), tmp_path / "run")
    enough_are_accepted_and_every_reason_for_rejection_is_seen(found.folder, found.facts)
    assert nearest_synthetic(found.folder) > 10
    adds_up(found.folder, found.facts)
    lines_are_sorted_as_planted(found.folder, found.facts)
    the_card_says_that_the_labels_are_not_real(found.folder, found.facts)


def enough_are_accepted_and_every_reason_for_rejection_is_seen(folder: Path, facts: Any) -> None:
    attempts = pl.read_parquet(folder / "attempts.parquet")
    counts = Counter(attempts["status"].to_list())
    assert counts["accepted"] >= 200
    assert counts["rejected"] >= 50
    reasons = set(attempts.filter(pl.col("status") == "rejected")["reason"].to_list())
    assert reasons == set(REASONS) - UNSEEN
    for row in facts["expansion"]:
        assert row["attempts"] == row["accepted"] + row["surplus"] + sum(row["rejected"].values())
        assert row["still_lacks"] == 0
    assert {row["domain"] for row in facts["expansion"]} == {slug for slug in SLUGS if SIZES[slug] < FLOOR}


def lines_are_sorted_as_planted(folder: Path, facts: Any) -> None:
    labels = dict(pl.read_parquet(folder / "classified.parquet").select("key", "label").iter_rows())
    intended = {
        f"p{at:06d}": NONE if line.hedge == "hardly" else line.domain
        for at, line in enumerate(grammar_lines(), start=1)
        if line.hedge != "maybe"
    }
    right = sum(labels[key] == domain for key, domain in intended.items())
    assert right >= 0.98 * len(intended)
    assert facts["rows"]["unlabelled"] == 0
    split = sum(line.hedge == "partly" for line in grammar_lines())
    assert facts["classification"]["flipped"] >= 0.8 * split


def the_card_says_that_the_labels_are_not_real(folder: Path, facts: Any) -> None:
    assert any("its labels are not real labels" in sentence for sentence in facts["organism"])
    assert any("its lines are not real prompts" in sentence for sentence in facts["organism"])
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert all(f"**{sentence}**" in card for sentence in facts["organism"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_build_ends_with_the_same_bytes(tmp_path: Path) -> None:
    chosen = [line for line in grammar_lines() if line.domain in (SLUGS[7], SLUGS[10], NONE)][:24]
    rows = [json.dumps({"id": line.id, "text": line.text}) for line in chosen]
    (tmp_path / "in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    killed_and_resumed(tmp_path, str(tmp_path / "in.jsonl"), 20, SLUGS[7], SLUGS[10])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_grammar_killed_and_resumed(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, "grammar", FLOOR)


@pytest.fixture(scope="module")
def dices(public_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 24 conversations of DICES-350 as a file."""
    from evenhand.methods.pluralism.corpus.profiles import open_prompts

    found = open_prompts("dices-350", data_root=public_data("dices").parent)
    rows = [json.dumps({"id": key, "text": text}) for key, text in list(found.prompts.items())[:24]]
    path = tmp_path_factory.mktemp("dices") / "dices.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dices_killed_and_resumed(dices: Path, tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, str(dices), 10, SLUGS[9], SLUGS[11])
    whole = tmp_path / "whole" / "corpus"
    facts = json.loads((whole / "card.json").read_text(encoding="utf-8"))
    adds_up(whole, facts)
    assert nearest_synthetic(whole) > 10
    assert "its labels are not real labels" in (whole / "card.md").read_text(encoding="utf-8")
    assert facts["rows"]["texts"] == 24


@pytest.mark.data
def test_a_scripted_engine_generates_for_dices(dices: Path, tmp_path: Path) -> None:
    texts = [json.loads(row)["text"] for row in dices.read_text(encoding="utf-8").splitlines()]
    engines = {"classifier": ScriptedClassifier(), "generator": ScriptedGenerator(texts)}
    found = run_build(settings(str(dices), floor=20), tmp_path / "run", engines=engines)
    attempts = pl.read_parquet(found.folder / "attempts.parquet")
    counts = Counter(attempts["status"].to_list())
    assert counts["accepted"] == 20 * len(SLUGS) - sum(
        row["real"] for row in found.facts["domains"] if row["domain"] != NONE
    )
    assert counts["accepted"] >= 200
    assert counts["rejected"] >= 50
    assert {"failed", "not classified"} <= set(attempts["reason"].to_list())
    assert nearest_synthetic(found.folder) > 10
    adds_up(found.folder, found.facts)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(3600)
def test_the_whole_of_dices_killed_and_resumed(
    public_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_DATA", str(public_data("dices").parent))
    killed_and_resumed(tmp_path, "dices-350", 12)
