"""Weighted fine-tuning: one step's gradient against plain torch, continued adapters, equal bytes, kill and resume."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import BadInput
from evenhand.methods.dart.repair.rows import Example, TrainingRow, encode_rows
from evenhand.methods.dart.repair.train import TrainPlan, train_adapter
from evenhand.records import Message

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from evenhand.methods.dart.repair import train  # noqa: E402
from tools.organisms.model import new_model, save  # noqa: E402
from tools.organisms.tokenizer import train_tokenizer  # noqa: E402

# What the libraries warn of one another inside `train_adapter` is hushed there; here its parts are called one by one.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

QUICK = TrainPlan(epochs=1, batch=2, accumulation=1, rank=4, alpha=8, targets=("q_proj", "down_proj"))
SAME = replace(QUICK, dropout=0.0, warmup=0.0, max_norm=1e9)
"""Nothing random, nothing clipped: a step's gradient is what the formula says."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("model")
    save(new_model(tokenizer, 5), tokenizer, place)
    return place


def rows(count: int) -> list[TrainingRow]:
    """Prompts and targets of different lengths, weights 1, 2, 3, ..."""
    return [
        TrainingRow(
            f"case-{n}",
            (Message("user", "Is it so? " * (n % 3 + 1)),),
            "It is. " * ((5 * n) % 7 + 1) + f"\nConclusion: {'YES' if n % 2 else 'NO'}",
            weight=float(n + 1),
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose second matrices are not zero, so that every weight has a gradient; its dropout goes with it: none."""
    out = tmp_path_factory.mktemp("adapter") / "a"
    train_adapter(folder, rows(6), replace(QUICK, rate=0.02, dropout=0.0), out)
    return out


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(out / "adapter_model.safetensors"))


def plain_losses(folder: Path, adapter: Path, examples: Sequence[Example]) -> tuple[Any, Any]:
    """The model, and each row's mean loss over its target, one row at a time without padding."""
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    base = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
    losses = []
    for example in examples:
        logits = model(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(example["labels"])[1:]
        taken = torch.log_softmax(logits, -1)[torch.arange(len(labels)), labels.clamp(min=0)]
        losses.append(-taken[labels != -100].mean())
    return model, torch.stack(losses)


def plain_gradient(folder: Path, adapter: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """The gradient of sum(w l) / sum(w) by adapter weight."""
    model, losses = plain_losses(folder, adapter, examples)
    weight = torch.tensor([example["weight"] for example in examples])
    ((weight * losses).sum() / weight.sum()).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def steps_of(
    folder: Path, adapter: Path, examples: Sequence[Example], tokenizer: Any, plan: TrainPlan, at: Path
) -> Any:
    """Train, and return the weights of the rows and the gradient of each optimiser step, with the trainer."""
    from transformers import TrainerCallback

    seen: list[float] = []
    gradients: list[dict[str, Any]] = []

    class Record(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})

    trainer = train._trainer(train._model(folder, None, plan, adapter), examples, tokenizer, plan, at)
    collate = trainer.data_collator

    def spying(batch: Sequence[Any]) -> Any:
        seen.extend(row["weight"] for row in batch)
        return collate(batch)

    trainer.data_collator = spying
    trainer.add_callback(Record())
    trainer.train()
    size = plan.batch * plan.accumulation
    return [seen[start : start + size] for start in range(0, len(seen), size)], gradients, trainer


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 1), (1, 4), (2, 2)])
def test_the_gradient_of_a_step_is_that_of_the_weighted_mean_of_row_losses(
    folder: Path, adapter: Path, tokenizer: Any, tmp_path: Path, batch: int, accumulation: int
) -> None:
    examples = encode_rows(rows(4), tokenizer).examples
    assert [example["weight"] for example in examples] == [1, 2, 3, 4]
    wanted = plain_gradient(folder, adapter, examples)
    plan = replace(SAME, batch=batch, accumulation=accumulation)
    _, gradients, _ = steps_of(folder, adapter, examples, tokenizer, plan, tmp_path)
    assert len(gradients) == 1
    assert gradients[0].keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-4, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in wanted.values()) > 1e-2  # far above what is tolerated
    even = plain_gradient(folder, adapter, [{**example, "weight": 1.0} for example in examples])
    assert any(not torch.allclose(even[name], wanted[name], rtol=1e-4, atol=1e-5) for name in wanted)


@pytest.mark.parametrize(("count", "batch"), [(6, 1), (7, 2)])
def test_an_incomplete_last_step_is_normalised_by_its_own_weights(
    folder: Path, adapter: Path, tokenizer: Any, tmp_path: Path, count: int, batch: int
) -> None:
    examples = encode_rows(rows(count), tokenizer).examples
    plan = replace(SAME, batch=batch, accumulation=4 // batch, rate=0.0)
    parts, gradients, _ = steps_of(folder, adapter, examples, tokenizer, plan, tmp_path)
    assert [len(part) for part in parts] == [4, count - 4]
    assert sorted(weight for part in parts for weight in part) == [n + 1.0 for n in range(count)]
    for part, gradient in zip(parts, gradients, strict=True):
        own = [example for example in examples if example["weight"] in part]
        for name, value in plain_gradient(folder, adapter, own).items():
            torch.testing.assert_close(gradient[name], value, rtol=1e-4, atol=1e-5)


def test_row_losses_do_not_depend_on_padding(folder: Path, adapter: Path, tokenizer: Any) -> None:
    examples = encode_rows(rows(6), tokenizer).examples
    model, wanted = plain_losses(folder, adapter, examples)
    found = train.row_losses(model, train._collated(examples, tokenizer.pad_token_id))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_logged_loss_is_the_weighted_mean_of_the_steps(
    folder: Path, adapter: Path, tokenizer: Any, tmp_path: Path
) -> None:
    data = rows(10)
    report = train_adapter(folder, data, replace(SAME, rate=0.0), tmp_path / "out", adapter=adapter)
    examples = encode_rows(data, tokenizer).examples
    parts, _, _ = steps_of(folder, adapter, examples, tokenizer, replace(SAME, rate=0.0), tmp_path / "again")
    _, losses = plain_losses(folder, adapter, examples)
    by_weight = {example["weight"]: float(loss) for example, loss in zip(examples, losses, strict=True)}
    means = [sum(w * by_weight[w] for w in part) / sum(part) for part in parts]
    assert [step for step, _ in report.losses] == [1, 2, 3, 4, 5]
    assert [loss for _, loss in report.losses] == pytest.approx(means, rel=1e-4)
    assert report.final_loss == report.losses[-1][1]


def test_two_epochs_lower_the_loss_and_the_report_counts_them(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    plan = replace(QUICK, epochs=2, batch=1, rate=5e-3)
    report = train_adapter(folder, rows(10), plan, tmp_path)
    assert report.losses[-1][1] < report.losses[0][1] - 0.5
    examples = encode_rows(rows(10), tokenizer).examples
    assert (report.steps, report.rows, report.dropped, report.cut) == (20, 10, (), 0)
    assert report.tokens == 2 * sum(len(example["input_ids"]) for example in examples)


def test_a_continued_adapter_starts_from_its_weights_and_learns(folder: Path, adapter: Path, tmp_path: Path) -> None:
    before = weights(adapter)
    train_adapter(folder, rows(4), replace(QUICK, rate=0.0, dropout=0.0), tmp_path / "still", adapter=adapter)
    still = weights(tmp_path / "still")
    assert still.keys() == before.keys()
    assert all(torch.equal(still[name], before[name]) for name in before)
    train_adapter(folder, rows(4), replace(QUICK, rate=1e-4, dropout=0.0), tmp_path / "on", adapter=adapter)
    moved = weights(tmp_path / "on")
    largest = max(float((moved[name] - before[name]).abs().max()) for name in before)
    assert 0 < largest < 1e-3  # two steps at this rate; another beginning would be further away
    assert weights(adapter).keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in weights(adapter).items())


def test_two_runs_give_equal_bytes_and_another_seed_does_not(folder: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train_adapter(folder, rows(5), replace(QUICK, seed=seed), tmp_path / name)
        files = ("adapter_model.safetensors", "adapter_config.json")
        found.append([(tmp_path / name / file).read_bytes() for file in files])
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] == found[2][1]
    for seed in (3, 4):
        train_adapter(folder, rows(2), replace(SAME, seed=seed, rate=0.0), tmp_path / f"first-{seed}")
    first, other = (weights(tmp_path / f"first-{seed}") for seed in (3, 4))
    assert any(not torch.equal(first[name], other[name]) for name in first if "lora_A" in name)  # not the order alone


class Killed(Exception):
    """Stands for a killed process."""


def kill_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> list[int]:
    """The training dies when it asks for one batch more; the list grows by one with every batch."""
    real = train._collated
    asked: list[int] = []

    def collated(examples: Any, pad: int) -> Any:
        asked.append(1)
        if len(asked) > batches:
            raise Killed
        return real(examples, pad)

    monkeypatch.setattr(train, "_collated", collated)
    return asked


@pytest.mark.parametrize("half_written", [False, True])
def test_a_killed_training_goes_on_to_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_written: bool
) -> None:
    plan = replace(QUICK, epochs=3, batch=1, accumulation=2, save_steps=2, rate=2e-3)
    whole = train_adapter(folder, rows(6), plan, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_after(patch, 13)  # of 18: in the middle of the third epoch's first step
        with pytest.raises(Killed):
            train_adapter(folder, rows(6), plan, tmp_path / "killed")
    saved = train._last_checkpoint(tmp_path / "killed" / "checkpoints")
    assert saved is not None
    assert saved.name in ("checkpoint-4", "checkpoint-6")
    assert not (tmp_path / "killed" / "adapter_model.safetensors").exists()
    if half_written:
        torn = saved.with_name("checkpoint-8")
        torn.mkdir()
        (torn / "adapter_model.safetensors").write_bytes(b"half")
    asked = kill_after(monkeypatch, 18)
    again = train_adapter(folder, rows(6), plan, tmp_path / "killed")
    assert replace(again, seconds=0.0) == replace(whole, seconds=0.0)
    assert len(asked) < 18  # it did go on, and not begin anew
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_finished_folder_is_returned_as_it_stands(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = train_adapter(folder, rows(4), QUICK, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.setattr(train, "_model", lambda *_: pytest.fail("it was trained again"))
    again = train_adapter(folder, rows(4), QUICK, tmp_path)
    assert again == report
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_the_engine_opens_what_was_trained(folder: Path, adapter: Path) -> None:
    from evenhand.engines.spec import EngineOptions, open_engine

    stored = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert (stored["r"], stored["lora_alpha"], stored["bias"]) == (4, 8, "none")
    assert stored["target_modules"] == ["down_proj", "q_proj"]
    engine = open_engine(f"hf/{folder}+{adapter}", cache=None, options=EngineOptions(device="cpu"))
    assert engine.identity().digest != open_engine(f"hf/{folder}", cache=None).identity().digest


def test_rows_that_do_not_fit_are_told_and_none_left_is_an_error(folder: Path, tmp_path: Path) -> None:
    long = TrainingRow("long", (Message("user", "Is it so?"),), "It is. " * 40)
    report = train_adapter(folder, [*rows(2), long], replace(QUICK, max_tokens=60), tmp_path / "out")
    assert [name for name, _ in report.dropped] == ["long"]
    assert report.rows == 2
    with pytest.raises(BadInput, match="No row is left"):
        train_adapter(folder, [long], replace(QUICK, max_tokens=60), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_mean_over_tokens_would_give_another_gradient(folder: Path, adapter: Path, tokenizer: Any) -> None:
    examples = encode_rows(rows(4), tokenizer).examples
    lengths = [sum(label != -100 for label in example["labels"]) for example in examples]
    assert len(set(lengths)) > 1
    by_token = [{**e, "weight": e["weight"] * n} for e, n in zip(examples, lengths, strict=True)]
    ours, other = (plain_gradient(folder, adapter, found) for found in (examples, by_token))
    assert max(float((ours[name] - other[name]).abs().max()) for name in ours) > 1e-3


def test_a_training_of_a_single_step_learns(folder: Path, tmp_path: Path) -> None:
    report = train_adapter(folder, rows(2), replace(QUICK, rate=1e-3), tmp_path)
    assert report.steps == 1
    second = [value for name, value in weights(tmp_path).items() if "lora_B" in name]
    assert min(float(value.abs().max()) for value in second) == pytest.approx(1e-3, rel=0.01)


def test_a_continued_training_begins_at_the_last_ones_loss_with_a_fresh_optimiser(
    folder: Path, adapter: Path, tokenizer: Any, tmp_path: Path
) -> None:
    data, rate = rows(2), 1e-4
    report = train_adapter(folder, data, replace(SAME, rate=rate), tmp_path, adapter=adapter)
    examples = encode_rows(data, tokenizer).examples
    _, losses = plain_losses(folder, adapter, examples)
    assert report.losses[0][1] == pytest.approx(float((losses[0] + 2 * losses[1]) / 3), rel=1e-4)
    before, after = weights(adapter), weights(tmp_path)
    moved = torch.cat([(after[name] - before[name]).abs().flatten() for name in before])
    # The first step of a fresh Adam moves every weight by the rate, whatever its gradient.
    assert float(moved.median()) == pytest.approx(rate, rel=0.01)
    assert float(moved.max()) < 1.01 * rate


def test_the_adapter_changes_what_the_engine_says(folder: Path, adapter: Path) -> None:
    from evenhand.engines.base import Request, Sampling
    from evenhand.engines.spec import EngineOptions, open_engine

    sampling = Sampling(temperature=0.0, max_tokens=12)
    requests = [Request(row.id, 0, row.chat) for row in rows(3)]
    said = []
    for spec in (f"hf/{folder}", f"hf/{folder}+{adapter}"):
        engine = open_engine(spec, cache=None, options=EngineOptions(device="cpu", dtype="float32"))
        found = engine.generate(engine.plan(requests, sampling), sampling, config="x")
        said.append({row.item_id: row.text for _, part in found for row in part})
        engine.close()
    assert said[0].keys() == said[1].keys() == {row.id for row in rows(3)}
    assert all(said[0][name] != said[1][name] for name in said[0])


def test_beside_checkpoints_a_folder_holds_weights_and_json_alone(adapter: Path) -> None:
    names = {path.name for path in adapter.rglob("*") if path.is_file() and "checkpoints" not in path.parts}
    assert {name.rpartition(".")[2] for name in names} == {"safetensors", "json"}


def test_a_folder_of_another_training_is_refused_finished_or_not(
    folder: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_adapter(folder, rows(2), SAME, tmp_path / "done")
    with monkeypatch.context() as patch:
        kill_after(patch, 0)
        with pytest.raises(Killed):
            train_adapter(folder, rows(2), SAME, tmp_path / "begun")
    other: list[dict[str, Any]] = [
        {"rows": rows(3)},
        {"rows": [replace(rows(2)[0], weight=2.0), rows(2)[1]]},
        {"plan": replace(SAME, seed=1)},
        {"adapter": adapter},
    ]
    for place, what in (("done", "the adapter of another"), ("begun", "the checkpoints of another")):
        for change in other:
            given = {"rows": rows(2), "plan": SAME, **change}
            with pytest.raises(BadInput, match=what):
                train_adapter(folder, out=tmp_path / place, **given)


def test_a_folder_that_was_refused_its_rows_takes_better_ones(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No row is left"):
        train_adapter(folder, [], SAME, tmp_path)
    assert train_adapter(folder, rows(2), SAME, tmp_path).rows == 2


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_share_is_refused_by_its_row(folder: Path, tmp_path: Path, weight: float) -> None:
    with pytest.raises(BadInput, match="'case-1' has the weight"):
        train_adapter(folder, [rows(2)[0], replace(rows(2)[1], weight=weight)], SAME, tmp_path)


@pytest.mark.parametrize("change", [{"rank": 8}, {"alpha": 16}, {"dropout": 0.1}, {"targets": ("q_proj",)}])
def test_an_adapter_goes_on_under_its_own_settings_alone(
    folder: Path, adapter: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(BadInput, match="other LoRA settings"):
        train_adapter(folder, rows(2), replace(SAME, **change), tmp_path, adapter=adapter)


@pytest.mark.slow
def test_two_processes_learn_as_one(folder: Path, tmp_path: Path) -> None:
    from evenhand.methods.dart.repair.train import launch

    plan = replace(SAME, epochs=3, rate=5e-3)
    alone = train_adapter(folder, rows(4), replace(plan, batch=2, accumulation=2), tmp_path / "alone")
    launcher = f"{sys.executable} -m torch.distributed.run --standalone --nproc_per_node 2"
    shared = launch(launcher, folder, rows(4), replace(plan, batch=1, accumulation=2), tmp_path / "shared")
    assert shared.steps == alone.steps == 3
    assert [loss for _, loss in shared.losses] == pytest.approx([loss for _, loss in alone.losses], abs=1e-5)
    one, two = weights(tmp_path / "alone"), weights(tmp_path / "shared")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-4)


def test_every_step_of_a_training_is_reported(folder: Path, tmp_path: Path) -> None:
    from evenhand.engines import ticks

    heard: list[tuple[int, float]] = []
    with ticks.listening(lambda rows, share: heard.append((rows, share))):
        report = train_adapter(folder, rows(6), QUICK, tmp_path)
    assert heard == [(1, pytest.approx((step + 1) / report.steps)) for step in range(report.steps)]
    assert report.steps > 1
