"""``+tsdi:DIR`` on a local engine: what it writes, its identity, and the same weights without the bias."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.engines.base import Request, Sampling, Span
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.errors import BadInput
from evenhand.records import Message

L = 4
GREEDY = Sampling(temperature=0, max_tokens=10)
SAMPLED = Sampling(temperature=0.9, top_p=0.9, max_tokens=10, seed=5)
WORDS = "Tell me a joke about cats and dogs. Help me plan a trip to the sea, with bread and a garden."
PROMPTS = [WORDS[: 3 + (11 * n) % 60] for n in range(8)]
CPU = EngineOptions(device="cpu", dtype="float32")


def test_the_first_tokens_are_drawn_from_the_corrected_model(
    opened: Callable[..., Any], bias_folder: Path, tiny: SimpleNamespace, tsdi: SimpleNamespace
) -> None:
    engine, requests = opened("?alpha=0.75&length=3"), tiny.ask(*PROMPTS)
    found = tiny.run(engine, requests, GREEDY)
    bias = 0.75 * tsdi.tables(bias_folder)[:3]
    for request, prompt in zip(requests, engine._prompts(requests), strict=True):
        ids = tsdi.stepwise_greedy(engine.model, prompt.ids, bias, 10)
        row = found[request.item_id, 0]
        assert row.completion_tokens == len(ids)
        assert row.text == engine.tokenizer.decode(ids, skip_special_tokens=True)
    plain = tiny.run(opened(None), requests, GREEDY)
    assert sum(found[key].text != plain[key].text for key in found) > len(found) / 2


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_neither_batches_nor_padding_change_the_text(
    opened: Callable[..., Any], tiny: SimpleNamespace, sampling: Sampling
) -> None:
    requests = tiny.ask(*PROMPTS, repetitions=2)
    alone = tiny.run(opened(batch_tokens=1), requests, sampling)
    together = opened(batch_tokens=10**6)
    assert len(together.plan(requests, sampling)) == 1
    assert tiny.run(together, requests, sampling) == alone
    together.decoder.share_prefix = False
    assert tiny.run(together, requests, sampling) == alone
    for longer in (1, 7, 50):  # a longer neighbour pads this one on the left
        both = tiny.run(together, [*tiny.ask("Help"), Request("long", 0, (Message("user", "a" * longer),))], GREEDY)
        assert both["item-0", 0] == tiny.run(together, tiny.ask("Help"), GREEDY)["item-0", 0]


def test_alpha_zero_is_the_model_itself(
    opened: Callable[..., Any], tokenizer: Any, tmp_path: Path, tiny: Any, tsdi: SimpleNamespace
) -> None:
    requests = tiny.ask(*PROMPTS, repetitions=3)
    spans = [Span(str(n), text, chat=(Message("user", "Hello"),)) for n, text in enumerate(PROMPTS)]
    plain = opened(None)
    wanted, scores = tiny.run(plain, requests, SAMPLED), tsdi.totals(plain, spans)
    zero = tsdi.artefact(tmp_path / "zero", tokenizer, scale=0.0)
    for engine in (opened("?alpha=0"), opened(bias=zero)):
        assert tiny.run(engine, requests, SAMPLED) == wanted
        assert tsdi.totals(engine, spans) == scores


def test_a_planted_bias_gives_the_reference_back(
    opened: Callable[..., Any],
    tokenizer: Any,
    tmp_path: Path,
    tiny: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tsdi: SimpleNamespace,
) -> None:
    """The aligned model is the reference plus c_i, exactly: corrected, its probabilities are those of the reference."""
    from evenhand.engines.decode import Decoder

    folder = tsdi.artefact(tmp_path / "bias", tokenizer)
    c, seen = tsdi.tables(folder), []
    plain, corrected = opened(None), opened(bias=folder)
    forward = Decoder.forward
    steps = {"at": 0}

    def shifted(self: Any, *given: Any) -> Any:
        import torch

        logits = forward(self, *given)
        if self.kernel is not None and steps["at"] < L:
            logits = logits + torch.from_numpy(c[steps["at"]])
        steps["at"] += 1
        return logits

    import evenhand.engines.decode as decode

    draw = decode.draw

    def watched(logits: Any, *rest: Any) -> Any:
        seen.append(logits.softmax(-1).numpy())
        return draw(logits, *rest)

    monkeypatch.setattr(decode, "draw", watched)
    wanted = tiny.run(plain, tiny.ask("Help me"), SAMPLED)
    reference, seen[:] = list(seen), []
    monkeypatch.setattr(Decoder, "forward", shifted)
    corrected.decoder.share_prefix = False
    steps["at"] = 0
    assert tiny.run(corrected, tiny.ask("Help me"), SAMPLED) == wanted
    assert len(seen) == len(reference) > L
    assert max(np.abs(a - b).max() for a, b in zip(seen, reference, strict=True)) < 1e-5


def test_it_equals_generate_of_transformers_with_the_processor(
    opened: Callable[..., Any], bias_folder: Path, tiny: SimpleNamespace
) -> None:
    import torch

    from evenhand.bridges.transformers_processor import tsdi_processor

    engine, requests = opened("?alpha=0.6"), tiny.ask(*PROMPTS)
    ours = tiny.run(engine, requests, GREEDY)
    prompts = [prompt.ids for prompt in engine._prompts(requests)]
    width = max(map(len, prompts))
    ids = torch.tensor([[2] * (width - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    processor = tsdi_processor(bias_folder, engine.tokenizer, alpha=0.6)
    out = engine.model.generate(
        ids, attention_mask=mask, max_new_tokens=10, do_sample=False, logits_processor=[processor]
    )
    for request, row in zip(requests, out[:, width:], strict=True):
        assert ours[request.item_id, 0].text == engine.tokenizer.decode(row, skip_special_tokens=True)


def test_every_turn_begins_at_position_one(
    opened: Callable[..., Any], bias_folder: Path, tiny: SimpleNamespace, tsdi: SimpleNamespace
) -> None:
    turns = (Message("user", "Tell me a joke."), Message("assistant", "Of course. Here is one."), Message("user", "Go"))
    engine = opened()
    (prompt,) = engine.renderer.prompts([turns])
    wanted = tsdi.stepwise_greedy(engine.model, prompt.ids, tsdi.tables(bias_folder), 10)
    found = tiny.run(engine, [Request("multi", 0, turns)], GREEDY)["multi", 0]
    assert found.text == engine.tokenizer.decode(wanted, skip_special_tokens=True)


def test_plain_text_is_continued_without_correction(opened: Callable[..., Any], tiny: SimpleNamespace) -> None:
    plain = [Request(f"plain-{n}", 0, (Message("user", text),), plain=True) for n, text in enumerate(PROMPTS)]
    chats = tiny.ask(*PROMPTS)
    mixed = [row for pair in zip(plain, chats, strict=True) for row in pair]
    bare, biased = opened(None, batch_tokens=10**6), opened(batch_tokens=10**6)
    assert len(biased.plan(mixed, SAMPLED)) == 1  # one batch holds both kinds
    found, wanted = tiny.run(biased, mixed, SAMPLED), tiny.run(bare, mixed, SAMPLED)
    alone = tiny.run(biased, chats, SAMPLED)
    assert {key: row for key, row in found.items() if key[0].startswith("plain")} == {
        key: row for key, row in wanted.items() if key[0].startswith("plain")
    }
    assert {key: row for key, row in found.items() if key[0].startswith("item")} == alone
    assert alone != {key: row for key, row in wanted.items() if key[0].startswith("item")}


def test_without_a_template_the_bias_must_be_a_plain_one(
    opened: Callable[..., Any], tokenizer: Any, tmp_path: Path, tiny: SimpleNamespace, tsdi: SimpleNamespace
) -> None:
    plain = tsdi.artefact(tmp_path / "plain", tokenizer, template="plain")
    engine, requests = opened(bias=plain, plain=True), tiny.ask(*PROMPTS[:3])
    assert tiny.run(engine, requests, GREEDY) != tiny.run(opened(None, plain=True), requests, GREEDY)
    with pytest.raises(BadInput, match="estimated under the chat template plain"):
        opened(bias=plain)


def test_the_correction_is_part_of_the_identity(
    opened: Callable[..., Any], tokenizer: Any, tmp_path: Path, tsdi: SimpleNamespace
) -> None:
    other = tsdi.artefact(tmp_path / "other", tokenizer, seed=1)
    engines = [opened(None), opened(), opened("?alpha=0.5"), opened("?alpha=0.5&length=2"), opened(bias=other)]
    identities = [engine.identity() for engine in engines]
    assert len({identity.digest for identity in identities}) == 5
    assert len({identity.processors for identity in identities}) == 5
    assert identities[0].processors == ""
    digest = engines[2].correction.bias.digest
    assert identities[2].processors == f"tsdi {digest} alpha=0.5 length=4"
    assert len({identity.weights for identity in identities}) == 1


def test_the_cache_keeps_the_corrected_rows_apart(
    model_folder: Path, tokenizer: Any, tiny: SimpleNamespace, tmp_path: Path, tsdi: SimpleNamespace
) -> None:
    bias, cache = tmp_path / "bias", tmp_path / "cache.sqlite"
    spec, requests = f"hf/{model_folder}+tsdi:{bias}", tiny.ask(*PROMPTS[:4])

    def once(seed: int) -> tuple[int, dict[Any, Any]]:
        tsdi.artefact(bias, tokenizer, seed=seed)
        engine: Any = open_engine(spec, cache=cache, options=CPU)
        found = engine.estimate(requests, GREEDY).calls, tiny.run(engine, requests, GREEDY)
        engine.close()
        return found

    assert once(0)[0] == 4
    left, first = once(0)
    assert left == 0
    left, second = once(1)  # the same spec, another artefact in the folder
    assert left == 4
    assert first != second


def test_the_bare_model_has_no_bias_and_shares_the_weights(
    opened: Callable[..., Any], model_folder: Path, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    requests, spec = tiny.ask(*PROMPTS), f"hf/{model_folder}"
    biased, alone = opened(), opened(None)
    for cached in (None, tmp_path / "cache.sqlite"):
        policy: Any = open_engine(biased.spec, cache=cached, options=CPU)
        bare = policy.without_adapter(spec)
        before = tiny.run(policy, requests, GREEDY)
        assert tiny.run(bare, requests, GREEDY) == tiny.run(alone, requests, GREEDY) != before
        assert bare.identity() == alone.identity()
        assert bare.model is policy.model
        bare.close()
        assert tiny.run(policy, requests, GREEDY) == before
    with pytest.raises(BadInput, match="has no adapter to take off"):
        alone.without_adapter(spec)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapter_and_bias_come_off_one_by_one(
    model_folder: Path, bias_folder: Path, tiny: SimpleNamespace, tmp_path: Path, tsdi: SimpleNamespace
) -> None:
    from peft import LoraConfig, get_peft_model

    adapter = tmp_path / "lora"
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(tiny.make_model(), config).save_pretrained(adapter)
    base, adapted = f"hf/{model_folder}", f"hf/{model_folder}+{adapter}"
    policy: Any = open_engine(f"{adapted}+tsdi:{bias_folder}", options=CPU)
    requests, spans = tiny.ask(*PROMPTS), [Span("a", "Of course.", chat=(Message("user", "Help"),))]
    assert policy.identity().adapter
    found = {}
    for spec in (base, adapted):
        alone: Any = open_engine(spec, options=CPU)
        bare = policy.without_adapter(spec)
        assert bare.model is policy.model
        assert bare.identity() == alone.identity()
        assert tiny.run(bare, requests, GREEDY) == tiny.run(alone, requests, GREEDY)
        assert tsdi.totals(bare, spans) == pytest.approx(tsdi.totals(alone, spans), abs=1e-4)
        found[spec] = tsdi.totals(alone, spans)["a"]
    biased = tsdi.totals(policy, spans)["a"]
    assert len({round(value, 3) for value in (*found.values(), biased)}) == 3
    other = policy.without_adapter(f"{base}+tsdi:{bias_folder}")  # another model: it gets weights of its own
    assert other.model is not policy.model
    assert other.correction is not None
    assert not other.identity().adapter


def test_the_reference_of_a_corrected_model_shares_its_weights(model_folder: Path, bias_folder: Path) -> None:
    from evenhand.config import make_config
    from evenhand.runs.lifecycle import open_others
    from evenhand.runs.respond import Configuration

    base, corrected = f"hf/{model_folder}", f"hf/{model_folder}+tsdi:{bias_folder}"
    policy: Any = open_engine(corrected, options=CPU)
    config = make_config(models=(corrected,), reference=base, device="cpu", dtype="float32")
    others: Any = open_others(config, [Configuration(corrected, policy)], None)
    assert list(others) == [base]
    assert others[base].model is policy.model
    assert others[base].identity().processors == ""
