"""Checkpoints: the file that names them, and the effects of training, which are computed and never assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import BadInput
from evenhand.methods.tsdi.sweep.grid import FACTORS, read_checkpoints


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("sweep_toy")


@pytest.fixture
def studio(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.Studio(tmp_path).install(monkeypatch)


def write(studio: Any, *, push: float, earned: float) -> Path:
    """Two betas x two steps x two cleansings; harder training adds ``push`` and ``earned`` to the model."""
    lines = ["spec,beta,steps,cleansing,reference"]
    for i, beta in enumerate((0.1, 0.025)):
        for j, steps in enumerate((100, 400)):
            for k, cleansing in enumerate(("", "0.25")):
                name = f"organism/c{i}{j}{k}"
                lines.append(f"{name},{beta},{steps},{cleansing},organism/sft")
                studio.push[name] = 0.5 + push * (i + j)
                studio.earned[name] = 0.5 + earned * (i + j)
    path = Path(studio.folder) / "models.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_each_checkpoint_is_measured_with_and_without(studio: Any) -> None:
    _, result = studio.sweep(model=None, models=write(studio, push=0.5, earned=1.0), checkpoint_length=3, repetitions=1)
    rows = [row for row in result.facts["settings"] if row["model"]]
    assert [row["key"] for row in rows[:4]] == [
        "c1-plain",
        "c1-tsdi-builtin-l3-a1",
        "c2-plain",
        "c2-tsdi-builtin-l3-a1",
    ]
    assert len(rows) == 16
    assert len(studio.estimates) == 8
    assert all(text.endswith(" builtin 3") for text in studio.estimates)
    assert result.facts["recommendation"] is None
    assert [verdict.config for verdict in result.verdicts] == ["checkpoints"]


def test_safety_rises_and_the_front_moves_as_computed(studio: Any, toy: Any) -> None:
    _, result = studio.sweep(model=None, each=60, models=write(studio, push=0.0, earned=1.0), repetitions=2)
    for factor in ("beta", "steps"):
        effect = toy.found(result, "training_effect", "safety", "plain", factor=factor)
        assert effect.interval.low > 0
        assert effect.extra["pairs"] == 4
        # More refusals of harmful prompts at no cost in compliance: this front does move.
        shift = toy.found(result, "front_shift", "safety and compliance", "plain", factor=factor)
        assert shift.interval.low > 0
    none = toy.found(result, "training_effect", "safety", "plain", factor="cleansing")
    assert none.estimate == 0
    verdict = result.verdicts[0]
    assert verdict.headline == "Safety rises in 2 of 3 ways to train harder; the front moves in 2."
    assert "unlike what the paper found" in verdict.detail
    assert len(verdict.also) == len(FACTORS) + 1
    weak = toy.found(result, "training_effect", "safety", "plain", factor="beta", category="privacy_violation")
    assert weak.interval.low <= 0 <= weak.interval.high, "the weak category's refusals are not earned by training"


def test_what_only_refuses_more_makes_safety_rise_with_tsdi_undoing_it(studio: Any, toy: Any) -> None:
    _, result = studio.sweep(model=None, each=40, models=write(studio, push=1.5, earned=0.0), repetitions=2)
    plain, corrected = (
        toy.found(result, "training_effect", "safety", which, factor="beta") for which in ("plain", "tsdi")
    )
    assert plain.interval.low > 0
    assert corrected.estimate == 0, "the shift is all that training changed, and TSDI takes it off"


def test_checkpoints_beside_an_aligned_model_share_its_reference(studio: Any) -> None:
    _, result = studio.sweep(
        models=write(studio, push=0.5, earned=1.0), peers=("none",), judge="toy/judge", judgements=1, repetitions=1
    )
    assert [row["key"] for row in result.facts["settings"]].count("reference") == 1
    assert {"plain", "c1-plain", "c8-tsdi-builtin-l10-a1"} <= set(result.facts["wins"])
    assert [verdict.config for verdict in result.verdicts] == ["organism/aligned", "checkpoints"]


def test_one_model_under_two_names_is_measured_once(
    studio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("- {spec: organism/aligned, beta: 0.1}\n- {spec: organism/other, beta: 0.2}\n", encoding="utf-8")
    _, result = studio.sweep(models=path, peers=("none",), repetitions=1)
    same = {row["key"]: row["same_as"] for row in result.facts["settings"]}
    assert same["c1-plain"] == "plain"
    assert same["c2-plain"] == ""


def test_yaml_and_csv_say_the_same(tmp_path: Path) -> None:
    one, two = tmp_path / "m.yaml", tmp_path / "m.csv"
    one.write_text(
        "models:\n- {spec: hf/a, beta: 0.1, steps: 10}\n- {spec: hf/b, beta: 0.1, steps: 20, cleansing: none}\n",
        encoding="utf-8",
    )
    two.write_text("spec,beta,steps,cleansing,reference\nhf/a,0.1,10,,\nhf/b,0.1,20,,\n", encoding="utf-8")
    assert read_checkpoints(one) == read_checkpoints(two)
    assert read_checkpoints(one)[1].label == "β 0.1, steps 20"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spec,beta\n,0.1\n", "row 1: The checkpoint has no spec"),
        ("spec,beta\nhf/a,soft\n", "row 1: beta is 'soft', which is not a number"),
        ("spec,kl\nhf/a,0.1\n", "row 1: Unknown setting 'kl'"),
        ("spec,beta\nhf/a,0.1\nhf/a,0.2\n", "row 2: The checkpoint of row 1, hf/a, is repeated here"),
        ("spec,beta\nhf/a,0.1\nhf/b,0.1\n", "row 2: Beta, steps and cleansing are those of row 1"),
        ("spec,beta\nhf/a,inf\n", "is not a number"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        read_checkpoints(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "not valid YAML"), ("just words", "holds no list of checkpoints"), ("[]", "lists no checkpoints")],
)
def test_yaml_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "m.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        read_checkpoints(path)
