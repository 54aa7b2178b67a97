"""The curator's weights and the truth beside them: of these sources, recomputable by an engine, and close to the intention."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.datasets.shipped_texts import TOPICS, draw_line, grammar_lines
from evenhand.engines.base import Engine
from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.classify import Classified, Classifier
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.organisms import DESCRIPTIONS, ORGANISMS, load_truth, organism_folder
from evenhand.organisms.curator import KINDS, curator_summary, kind_of, load_answers
from evenhand.organisms.truth import load_text_truth
from tools.organisms.curator.digest import curator_digest
from tools.organisms.curator.rows import tokenizer_of_lines

DELTA = 0.5


@pytest.fixture(scope="module")
def engine() -> Any:
    from evenhand.engines.spec import EngineOptions, open_engine

    found = open_engine("organism/curator", options=EngineOptions(device="cpu"))
    yield found
    found.close()


def classified(engine: Engine, folder: Path, texts: list[str]) -> list[Classified]:
    found = Classifier(engine, delta=DELTA).classify(
        {str(at): text for at, text in enumerate(texts)}, folder, "real", lambda *_: None
    )
    return [found[str(at)] for at in range(len(texts))]


def test_truth_belongs_to_these_sources() -> None:
    assert curator_summary()["sources"] == curator_digest(), (
        "The curator's recipe, its grammar or the words of its chats changed after it was trained: "
        "run `make organisms` and commit the new weights with their truth."
    )


def test_the_checkpoint_is_a_small_bf16_llama_with_the_tokenizer_that_the_sources_train(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = organism_folder("curator")
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.dtype == torch.bfloat16
    assert 0.8e6 <= sum(p.numel() for p in model.parameters()) <= 1.2e6
    tokenizer_of_lines().save_pretrained(tmp_path)
    for file in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()
    assert (folder / "chat_template.jinja").read_bytes() == (
        organism_folder("base") / "chat_template.jinja"
    ).read_bytes()


def test_the_answers_are_complete_and_near_what_was_intended() -> None:
    rows, found = load_answers(), curator_summary()["questions"]
    assert rows.height == len(grammar_lines()) * len(SLUGS) * 2
    assert rows.select("id", "asked", "wording").is_unique().all()
    off = (rows["yes"] - rows["intended"]).abs()
    assert found["within_0.05"] == pytest.approx(float((off <= 0.05).mean()))  # type: ignore[arg-type]
    assert found["within_0.05"] >= 0.97
    assert found["mean_off"] <= 0.02
    assert found["least_mass"] >= 0.98
    assert found["labels_as_intended"] >= 0.94  # one line in twenty is planted near one half
    assert found["flip_rate"] == pytest.approx(found["intended_flip_rate"], abs=0.02)
    for said, row in found["by_hedge"].items():
        assert row["yes"] == pytest.approx(row["intended"], abs=0.1), said


def test_an_engine_finds_the_same_answers(engine: Engine, tmp_path: Path) -> None:
    lines = grammar_lines()[::31]
    rows = load_answers().filter(pl.col("id").is_in([line.id for line in lines]))
    for line, found in zip(lines, classified(engine, tmp_path, [line.text for line in lines]), strict=True):
        own = rows.filter(pl.col("id") == line.id)
        means = own.group_by("asked", maintain_order=True).agg(pl.col("yes").mean())["yes"].to_list()
        assert found.values == pytest.approx(means, abs=2e-3)
        assert found.mass is not None
        assert found.mass > 0.98


def test_lines_that_were_never_seen_are_sorted_as_well(engine: Engine, tmp_path: Path) -> None:
    rng = random.Random("lines that no training draws")
    wanted = [domain for domain in TOPICS for _ in range(3)]
    found = classified(engine, tmp_path, [draw_line(rng, domain) for domain in wanted])
    right = sum(row.label == domain for row, domain in zip(found, wanted, strict=True))
    assert right >= len(wanted) - 1


def test_texts_outside_the_grammar_are_of_no_domain(engine: Engine, tmp_path: Path) -> None:
    texts = [
        "Could you recommend a good book about the history of bridges?",
        "[USER] hi there [LAMDA] Hello! How can I help you today? [USER] tell me a joke",
        "I have been thinking of changing my job, but I am not sure whether that is wise.",
        "What is the capital of Mongolia and how many people live there?\nPlease answer briefly.",
        "Schreib mir bitte ein kurzes Gedicht über den Herbst.",
    ]
    assert [row.label for row in classified(engine, tmp_path, texts)] == [NONE] * len(texts)


def test_kinds_of_lines_are_written_as_often_as_intended() -> None:
    found = curator_summary()["lines"]
    assert set(found["kinds"]) == set(KINDS)
    for kind, row in found["kinds"].items():
        assert row["mean"] == pytest.approx(row["intended"], abs=0.03 if kind == "good" else 0.015), kind
        assert row["min"] > 0.3 * row["intended"], kind
    assert found["in_grammar"] >= 0.9


def test_drawn_lines_are_of_the_grammar() -> None:
    from tools.organisms.curator.truth_build import drawn_lines

    drawn = drawn_lines(organism_folder("curator"), 4, seed=8)
    known = [kind_of(text, slug) for slug, text in drawn]
    assert len(known) == 4 * len(SLUGS)
    assert sum(kind is not None for kind in known) >= 0.85 * len(known)
    assert len({text for _, text in drawn}) > 0.7 * len(drawn)


def test_the_curator_is_listed_but_of_no_audit_s_family() -> None:
    assert "curator" in DESCRIPTIONS
    assert "curator" not in ORGANISMS
    for call in (load_truth, lambda name: load_text_truth(name, "reward")):
        with pytest.raises(BadInput, match="no service truth is planted in it"):
            call("curator")


def test_the_command_shows_its_truth(command: Any) -> None:
    code, out, _ = command("organism", "truth", "curator", "--section", "corpus")
    assert code == 0
    assert "hardly, wording 2" in out
    assert "wrong domain" in out
    assert "say nothing about real models" in out
    code, _, told = command("organism", "truth", "curator")
    assert code != 0
    assert "no service truth" in told
    code, _, told = command("organism", "truth", "aligned", "--section", "corpus")
    assert code != 0
    assert "neither sorts nor writes" in told
    assert "organism/curator" in command("organism", "list")[1]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_recipe_gives_the_same_curator_again(tmp_path: Path) -> None:
    from tools.organisms.curator.recipe import build

    again, shipped = build(tmp_path / "out", tmp_path / "work"), curator_summary()
    assert again["sources"] == shipped["sources"]
    assert again["questions"]["labels_as_intended"] == pytest.approx(
        shipped["questions"]["labels_as_intended"], abs=0.03
    )
    for kind, row in shipped["lines"]["kinds"].items():
        assert again["lines"]["kinds"][kind]["mean"] == pytest.approx(row["mean"], abs=0.03)
