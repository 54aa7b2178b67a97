"""The two models of an estimate, and their rows of logits."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import open_engine
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.estimate.models import (
    ModelRows,
    check_unmerged,
    checked_rows,
    drawn,
    open_models,
    reference_spec,
)

Config = Callable[..., Any]


@pytest.fixture(scope="module")
def adapter(pair: SimpleNamespace, tiny: Any) -> Path:
    """A LoRA adapter with weights that do something."""
    return _adapter(pair, tiny, pair.root / "adapter")


def _adapter(pair: SimpleNamespace, tiny: Any, folder: Path, **settings: Any) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about names in transformers
        model = get_peft_model(tiny.make_model(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], **settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return folder


def test_the_reference_is_the_known_parent(config: Config) -> None:
    assert reference_spec(config(model="organism/aligned", reference=None)) == "organism/sft"
    assert reference_spec(config(model="organism/even", reference=None)) == "organism/even_sft"
    with pytest.raises(BadInput, match=r"that organism/base was tuned from is not known\. Give --reference"):
        reference_spec(config(model="organism/base", reference=None))


def test_without_a_known_parent_it_says_what_to_give(config: Config, pair: SimpleNamespace) -> None:
    with pytest.raises(BadInput, match=r"that hf/.*aligned was tuned from is not known\. Give --reference"):
        open_models(config(reference=None))


def test_an_adapters_base_is_its_reference_in_one_set_of_weights(
    config: Config, pair: SimpleNamespace, adapter: Path
) -> None:
    chosen = config(model=f"hf/{pair.reference}+{adapter}", reference=None)
    models = open_models(chosen)
    assert models.one_weights
    assert models.reference.spec == f"hf/{pair.reference}"
    aligned, reference = ModelRows(models.aligned), ModelRows(models.reference)
    assert aligned.model is reference.model
    contexts = [np.arange(10, 30), np.arange(40, 49)]
    on, off = aligned.rows(contexts, 3), reference.rows(contexts, 3)
    assert float((on - off).abs().max()) > 0.01
    apart = open_models(config())  # the base opened for itself
    np.testing.assert_allclose(off, ModelRows(apart.reference).rows(contexts, 3), atol=1e-5)
    np.testing.assert_array_equal(on, aligned.rows(contexts, 3))  # and the adapter is on again
    for opened in (models, apart):
        opened.close()


def test_a_merged_adapter_is_refused(config: Config, pair: SimpleNamespace, adapter: Path) -> None:
    models = open_models(config(model=f"hf/{pair.reference}+{adapter}", reference=None))
    model = models.aligned.model
    check_unmerged(model, "m")
    next(module for module in model.modules() if hasattr(module, "merge")).merge()
    with pytest.raises(EngineError, match="the adapter is merged into the weights"):
        check_unmerged(model, "m")
    models.close()


def test_an_adapter_that_replaces_the_head_is_refused(
    config: Config, pair: SimpleNamespace, tiny: Any, tmp_path: Path
) -> None:
    folder = _adapter(pair, tiny, tmp_path / "head", modules_to_save=["lm_head"])
    with pytest.raises(BadInput, match=r"also replaces embeddings or the head \(\"lm_head\"\): .* Merge the adapter"):
        open_models(config(model=f"hf/{pair.reference}+{folder}", reference=None))
    folder = _adapter(pair, tiny, tmp_path / "tokens")
    written = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**written, "trainable_token_indices": [4, 5]}))
    with pytest.raises(BadInput, match="trainable_token_indices"):
        open_models(config(model=f"hf/{pair.reference}+{folder}", reference=None))


def test_a_surrogate_is_warned_of_and_another_organism_is_one(config: Config) -> None:
    models = open_models(config(surrogate=True))
    assert models.surrogate
    assert any("is not what" in text and "chat style" in text for text in models.warnings)
    models.close()
    models = open_models(config(model="organism/aligned", reference="organism/base"))
    assert models.surrogate
    models.close()
    plain = open_models(config())
    assert not plain.surrogate
    assert plain.warnings == ()
    plain.close()


def test_a_base_model_without_a_template_can_be_the_reference(config: Config, tiny: Any, tmp_path: Path) -> None:
    base = tiny.save(tmp_path / "base", tiny.make_model(), tiny.make_tokenizer(None))
    models = open_models(config(reference=f"hf/{base}"))
    assert any("both models were given the template of" in text for text in models.warnings)
    models.close()


def test_models_of_unlike_precision_are_warned_of(
    config: Config, pair: SimpleNamespace, tiny: Any, tmp_path: Path
) -> None:
    folder = tiny.save(tmp_path / "quantised", tiny.make_model(), pair.tokenizer)
    written = json.loads((folder / "config.json").read_text())
    quantised = {**written, "quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(quantised))
    models = open_models(config(model=f"hf/{folder}"))
    assert any("differ in precision" in text and "quantised" in text for text in models.warnings)
    models.close()


torch = torch_with_threads()
CONTEXTS = [np.arange(10, 10 + size, dtype=np.int64) for size in (9, 4, 31, 17)]


@pytest.fixture(scope="module")
def source(pair: SimpleNamespace) -> Any:
    return ModelRows(open_engine(f"hf/{pair.reference}", device="cpu"))  # type: ignore[arg-type]


def alone(model: Any, ids: Any, length: int) -> Any:
    """All logits of one context by itself, and of these the rows T-1 to T+L-2."""
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(ids[None])).logits[0]
    start = len(ids) - length + 1  # T: template and prompt
    return logits[start - 1 : start + length - 1]


@pytest.mark.parametrize("length", [1, 3])
def test_rows_predict_the_measured_positions_in_a_padded_batch(source: Any, length: int) -> None:
    assert source.padded
    found = source.rows(CONTEXTS, length)
    assert found.shape == (4, length, 320)
    for row, ids in enumerate(CONTEXTS):
        np.testing.assert_allclose(found[row], alone(source.model, ids, length), atol=2e-5)


def test_only_these_rows_go_through_the_head(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    handle = source.model.lm_head.register_forward_hook(lambda m, given, out: seen.append(out.shape[1]))
    source.rows(CONTEXTS, 3)
    handle.remove()
    assert seen == [3]


def test_a_model_that_padding_changes_is_given_equal_lengths(pair: SimpleNamespace, source: Any) -> None:
    class Blind(torch.nn.Module):
        """Takes no notice of mask and positions."""

        def __init__(self, model: Any):
            super().__init__()
            self.model, self.batches = model, []

        def forward(self, input_ids: Any, attention_mask: Any = None, logits_to_keep: int = 0) -> Any:
            self.batches.append(tuple(input_ids.shape))
            return self.model(input_ids=input_ids, logits_to_keep=logits_to_keep)

        def get_input_embeddings(self) -> Any:
            return self.model.get_input_embeddings()

    engine = open_engine(f"hf/{pair.reference}", device="cpu")
    engine._model = Blind(engine.model)  # type: ignore[attr-defined]
    rows = ModelRows(engine)  # type: ignore[arg-type]
    assert not rows.padded
    rows.model.batches.clear()
    found = rows.rows([*CONTEXTS, CONTEXTS[0]], 2)
    assert sorted(rows.model.batches) == [(1, 4), (1, 17), (1, 31), (2, 9)]
    for row, ids in enumerate(CONTEXTS):
        np.testing.assert_allclose(found[row], alone(source.model, ids, 2), atol=2e-5)


def test_a_model_that_gives_only_the_last_row_is_refused() -> None:
    assert checked_rows(torch.zeros(2, 3, 5), 3, 9, "m").shape == (2, 3, 5)
    assert checked_rows(torch.zeros(2, 9, 5), 3, 9, "m").shape == (2, 3, 5)
    assert checked_rows(torch.zeros(2, 1, 5), 1, 9, "m").shape == (2, 1, 5)
    with pytest.raises(EngineError, match=r"m returned logits of 1 positions; 3 .* only those of the last token"):
        checked_rows(torch.zeros(2, 1, 5), 3, 9, "m")


def test_drawing_follows_the_probabilities_of_the_allowed_ids() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.1, 0.2]])).expand(4, 4)
    found = drawn(logits, np.asarray([0.0, 0.24, 0.26, 0.999999]), np.asarray([1, 2, 3]))
    assert found.tolist() == [1, 1, 1, 3]
    found = drawn(logits, np.asarray([0.39, 0.41, 0.59, 0.61]), np.asarray([1, 2, 3]))
    assert found.tolist() == [1, 2, 2, 3]


def test_a_sampled_prefix_does_not_depend_on_the_batch(source: Any) -> None:
    uniform = np.random.default_rng(0).random((4, 5))
    allowed = np.arange(6, 320)
    whole = source.sample(CONTEXTS, uniform, allowed)
    assert whole.shape == (4, 5)
    assert whole.min() >= 6
    single = [source.sample([ids], uniform[i : i + 1], allowed)[0].tolist() for i, ids in enumerate(CONTEXTS)]
    assert whole.tolist() == single
