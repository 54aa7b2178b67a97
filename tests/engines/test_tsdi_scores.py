"""``+tsdi:DIR`` on a local engine: scores and choices are those of the corrected model, against brute force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.engines.base import Question, Span
from evenhand.records import Message

L = 4
WORDS = "Tell me a joke about cats and dogs. Help me plan a trip to the sea, with bread and a garden."
PROMPTS = [WORDS[: 3 + (11 * n) % 60] for n in range(8)]


ANSWERS = ["I cannot help with that.", "Of course. Here is a plan", "Of course. No.", "a", "Of course. Here is a joke"]


@pytest.mark.parametrize("packing", ["tree", "rows", "all logits"])
def test_scores_are_those_of_the_corrected_model(
    opened: Callable[..., Any], bias_folder: Path, packing: str, monkeypatch: pytest.MonkeyPatch, tsdi: SimpleNamespace
) -> None:
    import evenhand.engines.logits as head_module
    import evenhand.engines.scoring as scoring

    engine = opened("?alpha=0.8")
    scorer = engine._open_scorer()
    assert scorer.packing == "tree"
    assert scorer.direct_head
    if packing != "tree":
        scorer.packing = "rows"
        scorer.direct_head = packing == "rows"
    assert head_module.target_log_probs is scoring.target_log_probs
    monkeypatch.setattr(scoring, "_HEAD_NUMBERS", 360 * 3)  # three rows of logits at a time
    chats = [(Message("user", "Tell me"),), (Message("system", "Be kind."), Message("user", "Help me plan a trip"))]
    spans = [
        Span(f"{n}-{k}-{end}", text, chat=chat, end=end)
        for n, chat in enumerate(chats)
        for k, text in enumerate(ANSWERS)
        for end in (False, True)
    ]
    bias = 0.8 * tsdi.tables(bias_folder)
    found = [row for _, part in engine.score(engine.plan_scores(spans)) for row in part]
    by_key = {row.span: row for row in found}
    bare = tsdi.totals(opened(None), spans)
    for span in spans:
        (prompt,) = engine.renderer.prompts([span.chat])
        answer = engine.tokenizer(span.text, add_special_tokens=False).input_ids + ([1] if span.end else [])
        row = by_key[span.key]
        assert list(row.tokens) == answer
        assert row.values == pytest.approx(tsdi.brute_score(engine.model, prompt.ids, answer, bias), abs=1e-4)
        assert abs(row.total - bare[span.key]) > 1e-3
    assert engine.noise_floor(spans) < 1e-4


def test_plain_contexts_are_scored_without_correction(opened: Callable[..., Any], tsdi: SimpleNamespace) -> None:
    """Under plain prompts a chat and a plain context are the same tokens; only the chat's answer is corrected."""
    engine, bare = opened(None, plain=True), opened(None, plain=True)
    chat = Span("chat", " a joke about cats", chat=(Message("user", "Tell me"),))
    (prompt,) = engine.renderer.prompts([chat.chat])
    ids = engine.tokenizer("Tell me\n\n a joke about cats", add_special_tokens=False).input_ids
    same = Span("plain", " a joke about cats", context="Tell me\n\n")
    spans = [chat, same, Span("other", "bake bread")]
    plain = tsdi.totals(bare, spans)
    engine = opened(None, plain=True)
    from evenhand.engines.bias_kernel import BiasKernel

    scorer = engine._open_scorer()
    bias = np.random.default_rng(2).normal(0, 2, (L, 360))
    scorer.kernel = BiasKernel(bias)
    mixed = tsdi.totals(engine, spans)
    assert {key: mixed[key] for key in ("plain", "other")} == {key: plain[key] for key in ("plain", "other")}
    answer = ids[len(prompt.ids) - (prompt.ids[0] == 0) :]
    wanted = tsdi.brute_score(engine.model, prompt.ids, answer, bias)
    assert mixed["chat"] == pytest.approx(sum(wanted), abs=1e-4)
    assert abs(mixed["chat"] - mixed["plain"]) > 1e-2


def test_choices_are_those_of_the_corrected_model(
    opened: Callable[..., Any], bias_folder: Path, tsdi: SimpleNamespace
) -> None:
    options = ("Yes", "No", "a garden", "Of course.")
    chat = (Message("user", "Is bread good?"),)
    asked = [
        Question("chat", chat, options),
        Question("plain", (Message("user", "Is bread"),), (" good", " bad"), plain=True),
    ]
    engine = opened()
    corrected, plain = engine.choose(asked)
    bare_corrected, bare_plain = opened(None).choose(asked)
    assert plain == bare_plain
    (prompt,) = engine.renderer.prompts([chat])
    ids = [engine.tokenizer(option, add_special_tokens=False).input_ids for option in options]
    wanted = [sum(tsdi.brute_score(engine.model, prompt.ids, answer, tsdi.tables(bias_folder))) for answer in ids]
    assert corrected.log_probs == pytest.approx(wanted, abs=1e-4)
    weight = np.exp(np.asarray(wanted))
    assert corrected.probabilities == pytest.approx(weight / weight.sum(), abs=1e-4)
    assert corrected.log_probs != pytest.approx(bare_corrected.log_probs, abs=1e-2)


def test_scores_in_any_order_and_batch(opened: Callable[..., Any], tsdi: SimpleNamespace) -> None:
    spans = [
        Span(f"{n}-{k}", text, chat=(Message("user", ask),))
        for n, ask in enumerate(PROMPTS[:4])
        for k, text in enumerate(ANSWERS)
    ]
    whole = tsdi.totals(opened(), spans)
    small = tsdi.totals(opened(batch_tokens=30), spans[::-1])
    assert whole == pytest.approx(small, abs=1e-4)
