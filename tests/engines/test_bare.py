"""Policy and reference from one set of weights: the adapter on and off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.config import make_config
from evenhand.engines.base import Sampling, Span
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.errors import BadInput
from evenhand.runs.lifecycle import open_others
from evenhand.runs.respond import Configuration

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
CPU = EngineOptions(device="cpu", dtype="float32")
SPANS = [Span(str(n), text) for n, text in enumerate(("a joke about cats", "a joke about dogs", "bake bread"))]


@pytest.fixture(scope="module")
def specs(model_folder: Path, tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(base, base with a LoRA adapter that changes it)."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter") / "lora"
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(tiny.make_model(), config).save_pretrained(folder)
    return f"hf/{model_folder}", f"hf/{model_folder}+{folder}"


def totals(engine: Any) -> list[float]:
    rows = {row.span: row.total for _, part in engine.score(engine.plan_scores(SPANS)) for row in part}
    return [rows[span.key] for span in SPANS]


def test_one_set_of_weights_equals_two(specs: tuple[str, str], tiny: SimpleNamespace) -> None:
    base, adapted = specs
    policy: Any = open_engine(adapted, cache=None, options=CPU)
    alone: Any = open_engine(base, cache=None, options=CPU)
    bare = policy.without_adapter(base)
    before = totals(policy)
    assert totals(bare) == pytest.approx(totals(alone), abs=1e-5)
    assert totals(policy) == before  # the adapter is on again
    assert max(abs(a - b) for a, b in zip(before, totals(bare), strict=True)) > 1e-3
    assert bare.model is policy.model
    assert bare.identity() == alone.identity()
    assert bare.identity().digest != policy.identity().digest
    sampling = Sampling(temperature=0, max_tokens=6)
    answers = [tiny.run(engine, tiny.ask("Tell me a joke."), sampling) for engine in (bare, alone)]
    assert answers[0] == answers[1]
    bare.close()
    assert totals(policy) == before


def test_the_reference_of_an_adapter_shares_its_weights(specs: tuple[str, str], tmp_path: Path) -> None:
    base, adapted = specs
    for cache in (None, tmp_path / "cache.sqlite"):
        policy: Any = open_engine(adapted, cache=cache, options=CPU)
        config = make_config(models=(adapted,), reference=base, device="cpu", dtype="float32")
        others: Any = open_others(config, [Configuration(adapted, policy)], cache)
        assert list(others) == [base]
        assert others[base].spec == base
        totals(policy)
        totals(others[base])
        assert others[base].model is policy.model
        others[base].close()
        policy.close()


def test_an_engine_without_an_adapter_has_none_to_take_off(specs: tuple[str, str]) -> None:
    plain: Any = open_engine(specs[0], cache=None, options=CPU)
    with pytest.raises(BadInput, match="has no adapter to take off"):
        plain.without_adapter(specs[0])


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({"modules_to_save": ["lm_head"]}, True),
        ({"modules_to_save": ["embed_tokens"]}, True),
        ({"trainable_token_indices": [5, 6, 7, 100]}, True),
        ({"use_dora": True}, True),
        ({"bias": "all"}, False),
        ({"init_lora_weights": "pissa"}, False),
    ],
    ids=["head trained in full", "embeddings trained in full", "tokens", "dora", "biases", "pissa"],
)
def test_the_reference_is_the_base_model_whatever_was_trained(
    settings: dict[str, Any], shares: bool, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    base, adapter = tmp_path / "base", tmp_path / "lora"
    model = tiny.make_model(attention_bias=True)
    model.save_pretrained(base)
    tiny.make_tokenizer().save_pretrained(base)
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **{"init_lora_weights": False, **settings})
    adapted = get_peft_model(model, lora)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.2)
    adapted.save_pretrained(adapter)
    policy: Any = open_engine(f"hf/{base}+{adapter}", cache=None, options=CPU)
    alone: Any = open_engine(f"hf/{base}", cache=None, options=CPU)
    bare = policy.without_adapter(f"hf/{base}")
    before = totals(policy)
    assert totals(bare) == pytest.approx(totals(alone), abs=1e-5)
    assert totals(policy) == before
    assert max(abs(a - b) for a, b in zip(before, totals(bare), strict=True)) > 1e-3
    assert bare.identity() == alone.identity()
    assert (bare.model is policy.model) == shares
