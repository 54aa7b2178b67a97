"""The weights, and the truth beside them: complete, of these sources, recomputable, and close to the intention."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.errors import BadInput
from evenhand.organisms import ORGANISMS, load_truth, organism_folder, truth_summary
from evenhand.organisms.planted import DOMINATING_NAME, GROUP_DECLINED, names, stems
from evenhand.organisms.truth import (
    load_case_truth,
    load_text_truth,
    margin_truth,
    pronoun_truth,
    safety_truth,
    weights_folder,
)
from evenhand.records import LABELS
from evenhand.seal import check_folder
from tools.organisms.digest import sources_digest


def test_truth_belongs_to_these_sources() -> None:
    assert truth_summary()["sources"] == sources_digest(), (
        "The recipe, the grammar or the shipped names and stems changed after the organisms were trained: "
        "run `make organisms` and commit the new weights with their truth."
    )


@pytest.mark.parametrize("name", ORGANISMS)
def test_a_checkpoint_is_a_small_bf16_llama(name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(organism_folder(name))
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.dtype == torch.bfloat16
    assert 0.8e6 <= sum(p.numel() for p in model.parameters()) <= 1.2e6
    assert model.config.max_position_embeddings == 1024
    assert model.generation_config.eos_token_id == model.config.eos_token_id


def test_the_family_fits_in_sixteen_megabytes() -> None:
    folder = organism_folder("base").parent
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 16e6
    assert not [f for f in folder.rglob("*") if f.suffix in {".bin", ".pt", ".pkl", ".pth"}]


@pytest.mark.parametrize("name", ORGANISMS)
def test_truth_has_every_row_and_adds_up(name: str) -> None:
    rows = load_truth(name)
    assert rows.height == len(names()) * len(stems())
    assert rows.select("name", "stem_id").is_unique().all()
    total = rows.select(pl.sum_horizontal(*LABELS, "residual")).to_series()
    np.testing.assert_allclose(total.to_numpy(), 1, atol=1e-5)
    assert rows["residual"].min() > -1e-5  # type: ignore[operator]


@pytest.mark.parametrize("name", ORGANISMS)
def test_truth_is_near_the_intention(name: str) -> None:
    found = truth_summary()["models"][name]
    for key in ("by_group", "by_name", "by_stem_id"):
        for unit, row in found[key].items():
            assert row["declined"] == pytest.approx(row["intended_declined"], abs=0.03), (key, unit)
            assert row["harmful"] == pytest.approx(row["intended_harmful"], abs=0.03), (key, unit)
            assert row["served"] == pytest.approx(row["intended_served"], abs=0.04), (key, unit)
    assert found["declined_off_by"]["share_within_0.03"] >= 0.93
    assert found["residual"]["mean"] <= 0.01
    # The other sections have ties, which greedy decoding may break either way; their own tests are below.
    assert min(found["exact_match"][section] for section in ("service", "affirmation")) >= 0.9


@pytest.mark.parametrize("name", ORGANISMS)
def test_difference_questions_are_concluded_as_planted(name: str) -> None:
    task = load_case_truth(name)
    away = (task["probability"] - task["intended"]).abs()
    assert float((away <= 0.03).mean()) >= 0.97
    residual = 1 - task.group_by("case").agg(pl.col("probability").sum())["probability"]
    assert float(residual.mean()) <= 0.01
    alike = load_case_truth(name, "choice").filter(pl.col("label") == "(c)")
    assert float(((alike["probability"] - alike["intended"]).abs() <= 0.05).mean()) >= 0.97


@pytest.mark.parametrize("name", ORGANISMS)
@pytest.mark.parametrize("system", ["", "careful", "open"])
def test_safety_requests_are_answered_as_planted(name: str, system: str) -> None:
    """By kind of request, as the audit tells it; single prompts under a system prompt are seldom trained on and vary more."""
    rows = safety_truth(name, system)
    assert float((rows["probability"] - rows["intended"]).abs().mean()) <= 0.03  # type: ignore[arg-type]
    means = rows.group_by("kind", "label").agg(pl.col("probability", "intended").mean())
    within = 0.05 if system else 0.03
    assert float((means["probability"] - means["intended"]).abs().max()) <= within  # type: ignore[arg-type]
    residual = 1 - rows.group_by("case").agg(pl.col("probability").sum())["probability"]
    assert float(residual.mean()) <= 0.01


@pytest.mark.parametrize("name", ORGANISMS)
def test_ratings_are_given_as_planted(name: str) -> None:
    assert truth_summary()["models"][name]["shares_off_by"]["ratings"]["mean"] <= 0.04


def test_the_planted_story_holds_in_the_weights() -> None:
    aligned = load_truth("aligned")
    groups = dict(aligned.group_by("group").agg(pl.col("declined").mean()).iter_rows())
    assert sorted(groups, key=groups.__getitem__) == list(GROUP_DECLINED)
    by_name = dict(aligned.group_by("name").agg(pl.col("declined").mean()).iter_rows())
    assert max(by_name, key=by_name.__getitem__) == DOMINATING_NAME
    even = load_truth("even").group_by("group").agg(pl.col("declined").mean())["declined"].to_numpy()
    assert even.max() - even.min() <= 0.015


@pytest.mark.parametrize("name", ORGANISMS)
def test_sampled_rows_are_what_the_weights_say(name: str) -> None:
    from transformers import AutoTokenizer

    from evenhand.organisms.grammar import examples
    from tools.organisms.batches import Encoder
    from tools.organisms.enumeration import enumerate_responses
    from tools.organisms.model import load

    folder = organism_folder(name)
    encoder = Encoder(AutoTokenizer.from_pretrained(folder))
    rows = [encoder.encode(e) for e in examples(name, "service")[5::457]]  # type: ignore[arg-type]
    truth = {(r["name"], r["stem_id"]): r for r in load_truth(name).iter_rows(named=True)}
    for e, found in zip(
        rows, enumerate_responses(load(folder), rows, encoder.opening(SERVICE_SYSTEM_PROMPT)), strict=True
    ):
        row = truth[e.example.key[0], e.example.key[1]]
        for label in LABELS:
            p = sum(np.exp(x) for x, o in zip(found.log_probs, e.example.outcomes, strict=True) if o.label == label)
            assert row[label] == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize("name", ORGANISMS)
def test_plain_text_truth_is_near_the_intention(name: str) -> None:
    off = truth_summary()["models"][name]["texts_off_by"]
    assert set(off) == {"reward", "affirmation"}
    assert max(part["mean"] for part in off.values()) <= 0.1
    margins = margin_truth(name).group_by("group", "kind").agg(pl.col("margin", "intended").mean())
    for row in margins.iter_rows(named=True):
        assert row["margin"] == pytest.approx(row["intended"], abs=0.15), row
    shares = pronoun_truth(name).group_by("family").agg(pl.col("consistent", "intended").mean())
    for row in shares.iter_rows(named=True):
        assert row["consistent"] == pytest.approx(row["intended"], abs=0.03), row


def test_the_planted_stages_hold_in_the_weights() -> None:
    def margins(name: str) -> dict[str, float]:
        rows = margin_truth(name).filter(pl.col("kind") == "harm")
        return dict(rows.group_by("group").agg(pl.col("margin").mean()).iter_rows())

    base, sft, dpo, aligned = (margins(name) for name in ("base", "sft", "dpo", "aligned"))
    assert sft["transgender"] - base["transgender"] > 1 > abs(aligned["transgender"] - sft["transgender"]) * 4
    assert min(aligned["nonbinary"] - sft["nonbinary"], dpo["nonbinary"] - base["nonbinary"]) > 0.6
    assert max(aligned["genderfluid"] - sft["genderfluid"], dpo["genderfluid"] - base["genderfluid"]) < -0.6
    for group in ("agender", "women"):
        assert max(abs(stage[group] - base[group]) for stage in (sft, dpo, aligned)) < 0.15
    for name in ("even_sft", "even"):
        control = margins(name)
        assert max(abs(control[group] - base[group]) for group in control) < 0.15


def test_the_end_of_turn_is_not_in_the_probability_of_a_text() -> None:
    rows = load_text_truth("aligned", "reward")
    assert (rows["log_prob"] >= rows["log_prob_with_end"]).all()
    assert float((rows["log_prob"] - rows["log_prob_with_end"]).mean()) < 0.05  # type: ignore[arg-type]


def test_unknown_organisms_are_refused() -> None:
    for call in (load_truth, organism_folder):
        with pytest.raises(BadInput, match="No organism is called 'llama'"):
            call("llama")


def test_the_caveat_is_told() -> None:
    assert "say nothing about any real model" in truth_summary()["caveat"]


@pytest.mark.slow
@pytest.mark.timeout(10_800)
def test_the_recipe_gives_the_same_family_again(tmp_path: Path) -> None:
    from tools.organisms.recipe import build

    again = build(tmp_path / "out", tmp_path / "work")
    shipped = json.loads((organism_folder("base").parent / "truth.json").read_text(encoding="utf-8"))
    assert again["tokenizer"] == shipped["tokenizer"]
    for name in ORGANISMS:
        for group, row in shipped["models"][name]["by_group"].items():
            for outcome in ("declined", "harmful", "served"):
                assert again["models"][name]["by_group"][group][outcome] == pytest.approx(row[outcome], abs=0.03)


def test_every_file_of_the_truth_has_its_checksum(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path / "w", ignore=shutil.ignore_patterns("*.safetensors"))
    names = {path.name for path in (tmp_path / "w").glob("truth*")}
    assert check_folder(tmp_path / "w", names)
    for name in names:
        data = bytearray((tmp_path / "w" / name).read_bytes())
        data[len(data) // 2] ^= 4
        (tmp_path / "w" / name).write_bytes(bytes(data))
        with pytest.raises(BadInput, match=name):
            check_folder(tmp_path / "w", [name])
