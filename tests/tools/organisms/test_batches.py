"""Exact conditional targets, and a batch layout that equals running each text alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.organisms import organism_folder
from evenhand.organisms.grammar import examples
from tools.organisms.batches import Encoded, Encoder, _continuations, assemble
from tools.organisms.enumeration import enumerate_responses, grammar_greedy
from tools.organisms.model import load
from tools.organisms.train import BETA, _preference_loss, _soft_loss

END = 9
texts = st.lists(st.lists(st.integers(0, 3), max_size=4).map(lambda x: (*x, END)), min_size=1, max_size=6, unique=True)


@given(texts, st.data())
def test_conditionals_multiply_to_the_probability_of_the_response(
    found: list[tuple[int, ...]], data: st.DataObject
) -> None:
    raw = np.array([data.draw(st.floats(0.01, 1)) for _ in found])
    probability = raw / raw.sum()
    for text, p, c in zip(found, probability, _continuations(found, probability), strict=True):
        product = 1.0
        for step in range(len(text)):
            here = c.step == step
            assert c.weight[here].sum() == pytest.approx(1, abs=1e-5)
            product *= float(c.weight[here & (c.token == text[step])][0])
        assert product == pytest.approx(p, rel=1e-4)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(organism_folder("aligned"))


@pytest.fixture(scope="module")
def rows(tokenizer: Any) -> list[Encoded]:
    encoder = Encoder(tokenizer)
    return [encoder.encode(e) for e in examples("aligned", "service")[::331]]


@pytest.mark.parametrize("system", [SERVICE_SYSTEM_PROMPT, None])
def test_enumeration_equals_the_chat_template_and_one_plain_pass_a_text(
    tokenizer: Any, rows: list[Encoded], system: str | None
) -> None:
    import torch

    model = load(organism_folder("aligned"))
    found = enumerate_responses(model, rows, Encoder(tokenizer).opening(system), rows=4)
    for e, got in zip(rows[:4], found, strict=False):
        chat = [{"role": "user", "content": e.example.chat[-1].content}]
        if system is not None:
            chat.insert(0, {"role": "system", "content": system})
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        for c, log_probability in zip(e.responses, got.log_probs, strict=True):
            ids = torch.tensor([[*prompt, *c.ids.tolist()]])
            with torch.inference_mode():
                scores = torch.log_softmax(model(ids).logits[0, :-1].float(), dim=-1)
            taken = scores.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]
            assert float(taken.sum()) == pytest.approx(log_probability, abs=1e-4)


def test_greedy_walk_equals_transformers_greedy_decoding(tokenizer: Any, rows: list[Encoded]) -> None:
    import torch

    model = load(organism_folder("aligned"))
    found = enumerate_responses(model, rows, Encoder(tokenizer).opening(SERVICE_SYSTEM_PROMPT))
    for e, got in zip(rows, found, strict=True):
        chat = [{"role": m.role, "content": m.content} for m in e.example.chat]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=48,
            )
        text = tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)
        assert got.greedy is not None
        assert text == e.example.outcomes[got.greedy].text
        assert e.probability[grammar_greedy(e)] > 0.02


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_both_losses_are_smallest_at_the_grammar(seed: int) -> None:
    import torch

    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(3))
    found = [(0, END), (0, 1, END), (2, END)]
    encoded = Encoded(examples("base", "difference")[0], np.array([5]), _continuations(found, probability), probability)
    chosen = [(encoded, [0, 1]), (encoded, [2, 0])]
    arrays = assemble(chosen, 1, 0)
    exact = torch.full((len(arrays.place), 10), -30.0)
    exact[arrays.target_place, arrays.target_token] = torch.log(
        torch.from_numpy(np.concatenate([c.weight for c in (encoded.responses[k] for _, ks in chosen for k in ks)]))
    )
    reference = [np.log(rng.dirichlet(np.ones(3))) for _ in chosen]
    soft, preference = _soft_loss(exact, arrays), _preference_loss(exact, arrays, chosen, reference)
    assert float(soft) == pytest.approx(arrays.entropy, rel=1e-4)
    for _ in range(3):
        moved = torch.log_softmax(exact + 0.3 * torch.from_numpy(rng.normal(size=exact.shape)).float(), dim=-1)
        assert _soft_loss(moved, arrays) >= soft - 1e-5
        assert _preference_loss(moved, arrays, chosen, reference) >= preference - 1e-5
    assert BETA > 0
