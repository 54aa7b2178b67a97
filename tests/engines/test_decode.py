"""The decode loop on several architectures, and the draw of tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from evenhand.engines.base import Sampling
from evenhand.engines.machine import torch_with_threads
from evenhand.errors import EngineError

torch = torch_with_threads()

from evenhand.engines.decode import Decoder  # noqa: E402
from evenhand.engines.logits import draw, next_token_probabilities, stream, uniforms  # noqa: E402

SIZE: dict[str, Any] = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
COMMON: dict[str, Any] = {
    **SIZE, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.5,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", COMMON),
    "qwen3": ("Qwen3Config", {**COMMON, "head_dim": 8}),
    "mistral, sliding": ("MistralConfig", {**COMMON, "sliding_window": 6}),
    "gemma3, sliding and full": ("Gemma3TextConfig", {**COMMON, "head_dim": 8, "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "gpt2": ("GPT2Config", {"vocab_size": 90, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128,
        "initializer_range": 0.5, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}),
    "bloom, no position ids": ("BloomConfig", {"vocab_size": 90, "hidden_size": 32, "n_layer": 3, "n_head": 4,
        "initializer_range": 0.5, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}),
}  # fmt: skip


def build(family: str) -> Any:
    import transformers

    name, settings = FAMILIES[family]
    torch.manual_seed(4)
    return transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**settings)).eval()


def some_prompts(count: int, shared: int = 9) -> list[list[int]]:
    rng = np.random.default_rng(5)
    head = rng.integers(3, 90, shared).tolist()
    return [head + rng.integers(3, 90, int(rng.integers(1, 14))).tolist() for _ in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_agrees_with_transformers_generate(family: str) -> None:
    model = build(family)
    decoder = Decoder(model, frozenset({1}), pad_id=2)
    prompts = some_prompts(9)
    rows = [n % 9 for n in range(14)]
    done = decoder.run(prompts, rows, [18] * 14, Sampling(temperature=0), None)
    for row, completion in zip(rows, done, strict=True):
        out = model.generate(
            torch.tensor([prompts[row]]), attention_mask=torch.ones(1, len(prompts[row]), dtype=torch.long),
            max_new_tokens=18, do_sample=False,
        )[0, len(prompts[row]) :].tolist()  # fmt: skip
        assert completion.tokens == [token for token in out if token != 1]
        assert completion.drawn == len(out)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_do_not_depend_on_the_batch(family: str) -> None:
    """Within 1e-4 at every step, whatever the padding, the shared prefix and the forks."""
    model = build(family)
    prompts = some_prompts(7)
    seen: dict[tuple[int, ...], list[Any]] = {}

    class Watching(Decoder):
        def forward(self, cache: Any, tokens: Any, positions: Any, mask: Any) -> Any:
            logits = Decoder.forward(self, cache, tokens, positions, mask)
            self.trace.append(logits)  # type: ignore[attr-defined]
            return logits

    class Open(Watching):
        __slots__ = ("trace",)

    rows = [n for n in range(7) for _ in range(3)]
    uniform = uniforms(0, [(str(n), r) for n in range(7) for r in range(3)], 12)
    sampling = Sampling(temperature=1)

    def completions(decoder: Any, chosen: list[int]) -> list[list[int]]:
        decoder.trace = []
        own = sorted({rows[row] for row in chosen})
        done = decoder.run(
            [prompts[n] for n in own], [own.index(rows[row]) for row in chosen], [12] * len(chosen), sampling,
            uniform[chosen],
        )  # fmt: skip
        return [completion.tokens for completion in done]

    together = completions(Open(model, frozenset({1}), pad_id=2), list(range(21)))
    for row in range(21):
        decoder = Open(model, frozenset({1}), pad_id=2, share_prefix=False)
        (tokens,) = completions(decoder, [row])
        assert tokens == together[row]
        seen[row,] = decoder.trace
    with torch.no_grad():  # each step's logits against one plain forward pass over the whole text
        for row in range(21):
            whole = model(torch.tensor([prompts[rows[row]] + together[row]])).logits[0].float()
            start = len(prompts[rows[row]]) - 1
            for step, logits in enumerate(seen[row,]):
                assert torch.allclose(logits[0], whole[start + step], atol=1e-4, rtol=1e-4)


def test_models_with_another_memory_are_refused() -> None:
    import transformers

    settings = transformers.MambaConfig(vocab_size=90, hidden_size=16, num_hidden_layers=1, state_size=4)
    model = transformers.AutoModelForCausalLM.from_config(settings)
    with pytest.raises(EngineError, match="Serve it behind an OpenAI-style endpoint"):
        Decoder(model, frozenset({1}), pad_id=2)


def test_prefill_in_pieces_is_the_same() -> None:
    model = build("llama")
    prompts = some_prompts(9)
    whole = Decoder(model, frozenset({1}), pad_id=2).run(
        prompts, list(range(9)), [9] * 9, Sampling(temperature=0), None
    )
    pieces = Decoder(model, frozenset({1}), pad_id=2, prefill_tokens=20)
    assert pieces.run(prompts, list(range(9)), [9] * 9, Sampling(temperature=0), None) == whole


def test_limits_are_kept_row_by_row() -> None:
    decoder = Decoder(build("llama"), frozenset(), pad_id=2)
    limits = [1, 40, 7, 33]
    done = decoder.run(some_prompts(2), [0, 0, 1, 1], limits, Sampling(temperature=0), None)
    assert [completion.drawn for completion in done] == limits
    assert {completion.finish for completion in done} == {"length"}
    assert done[1].tokens[:1] == done[0].tokens


def test_first_token_follows_the_softmax(tiny: SimpleNamespace) -> None:
    model = tiny.make_model(spread=0.25)
    prompt, draws = [0, 40, 41, 42], 20_000
    decoder = Decoder(model, frozenset({1}), pad_id=2)
    sampling = Sampling(temperature=0.9, seed=17)
    uniform = uniforms(17, [("item", r) for r in range(draws)], 1)
    done = decoder.run([prompt], [0] * draws, [1] * draws, sampling, uniform)
    drawn = [completion.tokens[0] if completion.tokens else 1 for completion in done]
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double() / 0.9, -1).numpy() * draws
    observed = np.bincount(drawn, minlength=len(expected)).astype(float)
    large = expected >= 5
    table = np.array([[*observed[large], observed[~large].sum()], [*expected[large], expected[~large].sum()]])
    assert large.sum() > 20
    assert stats.chisquare(table[0], table[1] * table[0].sum() / table[1].sum()).pvalue > 0.01


def test_second_token_follows_the_softmax_given_the_first(tiny: SimpleNamespace) -> None:
    model = tiny.make_model(spread=0.6)
    prompt, draws = [0, 40, 41, 42], 8_000
    decoder = Decoder(model, frozenset(), pad_id=2)
    uniform = uniforms(1, [("item", r) for r in range(draws)], 2)
    done = decoder.run([prompt], [0] * draws, [2] * draws, Sampling(seed=1), uniform)
    first = int(np.bincount([completion.tokens[0] for completion in done]).argmax())
    second = np.bincount([c.tokens[1] for c in done if c.tokens[0] == first], minlength=360).astype(float)
    with torch.no_grad():
        expected = (
            torch.softmax(model(torch.tensor([[*prompt, first]])).logits[0, -1].double(), -1).numpy() * second.sum()
        )
    large = expected >= 5
    observed, wanted = [*second[large], second[~large].sum()], [*expected[large], expected[~large].sum()]
    assert stats.chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 0.01


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_against_a_plain_reference(top_p: float) -> None:
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 2, (40, 50))
    logits[0] = 0  # ties
    ours = next_token_probabilities(torch.tensor(logits), Sampling(temperature=1.3, top_p=top_p)).numpy()
    for row, values in enumerate(logits):
        weights = np.exp(values / 1.3 - (values / 1.3).max())
        weights /= weights.sum()
        kept, mass = [], 0.0
        for token in sorted(range(50), key=lambda t: (-weights[t], t)):
            if mass >= top_p:
                break
            kept.append(token)
            mass += weights[token]
        expected = np.zeros(50)
        expected[kept] = weights[kept] / weights[kept].sum()
        np.testing.assert_allclose(ours[row], expected, atol=1e-12)


def test_draw_inverts_the_cumulative_sum() -> None:
    rng = np.random.default_rng(7)
    logits = torch.tensor(rng.normal(0, 3, (6, 30)))
    logits[2, :29] = -np.inf
    state = rng.integers(0, 6, 400)
    uniform = rng.random(400)
    uniform[:12] = np.repeat([0.0, np.nextafter(1, 0)], 6)
    state[:12] = np.tile(np.arange(6), 2)
    tokens = draw(logits, state, uniform, Sampling(temperature=1))
    weights = torch.softmax(logits, -1).numpy()
    for s, u, token in zip(state, uniform, tokens, strict=True):
        cumulative = np.cumsum(weights[s])
        assert weights[s, token] > 0
        assert cumulative[token] > u * cumulative[-1] - 1e-12
        assert token == 0 or cumulative[token - 1] <= u * cumulative[-1] + 1e-12
    greedy = draw(logits, state, None, Sampling(temperature=0))
    np.testing.assert_array_equal(greedy, logits.argmax(-1).numpy()[state])


def test_streams_are_keyed_by_row_and_prefix_stable() -> None:
    table = uniforms(3, [("a", 0), ("a", 1), ("b", 0)], 40)
    np.testing.assert_array_equal(uniforms(3, [("a", 1)], 7)[0], table[1, :7])
    np.testing.assert_array_equal(stream(3, "b", 0).random(40), table[2])
    assert len(np.unique(np.round(np.concatenate([table.ravel(), uniforms(4, [("a", 0)], 40)[0]]), 12))) == 160
    assert not np.array_equal(uniforms(1, [("2\x1f3", 4)], 3), uniforms(1, [("2", 34)], 3))
