"""Scores are the model's own log-probabilities, however texts are packed, batched or padded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evenhand.engines.base import Question, Request, Sampling, Span
from evenhand.engines.packing import pack, sort_key
from evenhand.records import LogProb, Message

OpenLocal = Callable[..., Any]
TEXTS = [
    ("", "Write a short story about a garden."), ("", "Write a short story about a sea."), ("", "Help me plan a trip."),
    ("Write a short", " story about a garden."), ("Write a short", " joke."), ("How do I", " bake bread?"),
    ("", "Ünïcödé — ☃ 汉字."), ("Tell me", " a joke about cats and dogs."), ("Tell me", " a joke about cats and sea."),
    ("", "a"), ("", "Write a short"),
]  # fmt: skip
CLOSE = 1e-4


def spans(pairs: Sequence[tuple[str, str]] = tuple(TEXTS)) -> list[Span]:
    return [Span(f"{number:03d}", text, context) for number, (context, text) in enumerate(pairs)]


def scored(engine: Any, asked: list[Span]) -> dict[str, LogProb]:
    rows = [row for _, part in engine.score(engine.plan_scores(asked)) for row in part]
    assert len(rows) == len(asked)
    return {row.span: row for row in rows}


def stepwise(model: Any, ids: Sequence[int], start: int) -> float:
    """One forward pass a token, each on its own prefix."""
    import torch

    total = 0.0
    with torch.inference_mode():
        for end in range(start, len(ids)):
            logits = model(torch.tensor([list(ids[:end])])).logits[0, -1].double()
            total += float(torch.log_softmax(logits, dim=-1)[ids[end]])
    return total


@pytest.fixture(scope="module", params=["organism", "with bos", "without bos", "gpt2", "neox"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny: SimpleNamespace
) -> Iterator[Any]:
    """An organism, and random two-layer models of three families, with and without a beginning-of-sequence token."""
    from evenhand.engines.local import open_hf, open_organism
    from evenhand.engines.spec import EngineOptions, parse_spec

    options = EngineOptions(device="cpu", dtype="float32")
    if request.param == "organism":
        made = open_organism(parse_spec("organism/aligned"), options)
    else:
        folder = tmp_path_factory.mktemp("scored") / "model"
        tokenizer = tiny.make_tokenizer(adds_bos=request.param == "with bos")
        if request.param == "without bos":
            tokenizer.bos_token = None
            tokenizer.chat_template = tiny.TEMPLATE.replace("{{ bos_token }}", "")
        model_of(request.param, tiny).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made = open_hf(parse_spec(f"hf/{folder}"), options)
    yield made
    made.close()


def model_of(kind: str, tiny: SimpleNamespace) -> Any:
    import torch
    from transformers import (
        BloomConfig,
        BloomForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
    )

    torch.manual_seed(4)
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=360, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=1)
        ).eval()
    if kind == "neox":
        return GPTNeoXForCausalLM(
            GPTNeoXConfig(vocab_size=360, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                          max_position_embeddings=128, bos_token_id=0, eos_token_id=1)
        ).eval()  # fmt: skip
    if kind == "bloom":
        return BloomForCausalLM(
            BloomConfig(vocab_size=360, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1)
        ).eval()
    return tiny.make_model(4)


def test_one_pass_equals_a_pass_a_token(engine: Any) -> None:
    asked = spans()
    found = scored(engine, asked)
    for span, row in zip(asked, engine._scores.encoder.encode(asked), strict=True):
        assert found[span.key].total == pytest.approx(stepwise(engine.model, row.ids.tolist(), row.start), abs=CLOSE)
        assert math.fsum(found[span.key].values) == pytest.approx(found[span.key].total, abs=1e-6)
        assert found[span.key].tokens == tuple(row.ids[row.start :].tolist())


@pytest.mark.parametrize("row_tokens", [1, 8, 30, 4096])
def test_row_length_batch_and_order_change_nothing(engine: Any, row_tokens: int) -> None:
    asked = spans()
    whole = scored(engine, asked)
    scorer = engine._open_scorer()
    kept = scorer.row_tokens
    try:
        scorer.row_tokens = row_tokens
        alone = {span.key: scored(engine, [span])[span.key] for span in asked}
        turned = scored(engine, asked[::-1])
    finally:
        scorer.row_tokens = kept
    for key, row in whole.items():
        assert alone[key].total == pytest.approx(row.total, abs=CLOSE)
        assert turned[key].total == pytest.approx(row.total, abs=CLOSE)


def test_left_and_right_padding_without_sharing_agree(engine: Any) -> None:
    rows = engine._scores.encoder.encode(spans())
    scorer = engine._open_scorer()
    ids, starts = [row.ids for row in rows], [row.start for row in rows]
    import torch

    with torch.inference_mode():
        right = scorer._rows(ids, starts, padding="right")
    for a, b, c in zip(scorer.run(ids, starts), right, scorer.plainly(ids, starts), strict=True):
        np.testing.assert_allclose(a, b, atol=CLOSE)
        np.testing.assert_allclose(a, c, atol=CLOSE)
    floor = engine.noise_floor(spans())
    assert floor is not None
    assert floor < CLOSE


def test_trees_are_used_where_they_are_exact(engine: Any) -> None:
    scored(engine, spans())
    assert engine.observed()["packing"] == "tree"


def test_the_start_token_stands_first_once(engine: Any) -> None:
    (row,) = engine._scores.encoder.encode([Span("a", "Write a short story.")])
    bos, eos = engine.tokenizer.bos_token_id, engine.tokenizer.eos_token_id
    assert row.ids[0] == (bos if bos is not None else eos)
    assert row.ids[1] != row.ids[0]
    assert row.start == 1
    assert engine.observed()["start"] == ("bos" if bos is not None else "eos")


def test_a_plan_does_not_depend_on_the_order(engine: Any) -> None:
    asked = spans()
    keys = [batch.key for batch in engine.plan_scores(asked)]
    assert keys == [batch.key for batch in engine.plan_scores(asked[::-1])]
    assert sorted(span.key for batch in engine.plan_scores(asked) for span in batch.spans) == [
        span.key for span in asked
    ]


def test_choices_are_the_options_scores(engine: Any) -> None:
    question = Question("q", (Message("user", "Tell me"),), (" a joke", " a story", " no"), plain=True)
    (choice,) = engine.choose([question])
    rows = scored(engine, [Span(option, option, "Tell me") for option in question.options])
    totals = np.array([rows[option].total for option in question.options])
    np.testing.assert_allclose(choice.log_probs, totals, atol=CLOSE)
    np.testing.assert_allclose(choice.probabilities, np.exp(totals) / np.exp(totals).sum(), rtol=1e-3)
    assert choice.mass == pytest.approx(float(np.exp(totals).sum()), rel=1e-3)


def test_choices_come_in_order_and_bad_questions_fail_alone(engine: Any) -> None:
    chat = (Message("user", "Help me plan a trip to the sea."),)
    asked = [
        Question("good", chat, ("yes", "no")), Question("twice", chat, ("yes", "yes")), Question("none", chat, ()),
        Question("empty", chat, ("yes", "")),
    ]  # fmt: skip
    found = list(engine.choose(asked))
    assert [choice.key for choice in found] == ["good", "twice", "none", "empty"]
    assert found[0].error == ""
    assert sum(found[0].probabilities) == pytest.approx(1)
    assert [bool(choice.error) for choice in found] == [False, True, True, True]
    assert found[3].mass is None


def test_the_end_token_is_scored_only_when_asked(engine: Any) -> None:
    asked = [Span("plain", "Write a short story."), Span("ended", "Write a short story.", end=True)]
    rows = scored(engine, asked)
    assert rows["ended"].tokens == (*rows["plain"].tokens, engine.tokenizer.eos_token_id)
    assert rows["ended"].total is not None
    assert rows["plain"].total is not None
    assert rows["ended"].total < rows["plain"].total


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the text is empty"),
        ("\ud800", "surrogate"),
        ("a <|end|> b", "control token"),
        ("word " * 2000, "context exceeded"),
    ],
)
def test_texts_that_cannot_be_scored_fail_with_a_reason(engine: Any, text: str, reason: str) -> None:
    rows = scored(engine, [Span("bad", text, "Tell me" if not text else ""), Span("good", "a joke")])
    assert reason in rows["bad"].error
    assert rows["bad"].total is None
    assert rows["good"].error == ""


def test_logits_that_are_not_numbers_fail_the_row(open_local: OpenLocal, model_folder: Path) -> None:
    import torch

    engine = open_local(model_folder, dtype="float32")
    engine._open_scorer()
    with torch.no_grad():
        engine.model.lm_head.weight[7] = float("nan")
    (row,) = scored(engine, [Span("a", "a joke")]).values()
    assert row.error == "the model returned logits that are not numbers"


def test_a_constant_added_to_all_logits_changes_nothing(open_local: OpenLocal, model_folder: Path) -> None:
    engine = open_local(model_folder, dtype="float32")
    before = scored(engine, spans())
    engine.model.lm_head.register_forward_hook(lambda _, __, logits: logits + 3.5)
    after = scored(engine, spans())
    for key, row in before.items():
        assert after[key].total == pytest.approx(row.total, abs=CLOSE)


def test_a_model_that_a_dense_mask_changes_is_scored_row_by_row(
    open_local: OpenLocal, tmp_path: Path, tiny: SimpleNamespace
) -> None:
    model = model_of("bloom", tiny)
    model.save_pretrained(tmp_path)
    tiny.make_tokenizer(adds_bos=True).save_pretrained(tmp_path)
    engine = open_local(tmp_path, dtype="float32")
    asked = spans()
    found = scored(engine, asked)
    assert engine.observed()["packing"] == "rows"
    assert engine.observed()["why_rows"]
    for span, row in zip(asked, engine._scores.encoder.encode(asked), strict=True):
        assert found[span.key].total == pytest.approx(stepwise(engine.model, row.ids.tolist(), row.start), abs=CLOSE)


def test_a_sliding_window_is_kept(open_local: OpenLocal, tmp_path: Path, tiny: SimpleNamespace) -> None:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(2)
    model = MistralForCausalLM(
        MistralConfig(vocab_size=360, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                      num_key_value_heads=2, max_position_embeddings=128, sliding_window=6, bos_token_id=0, eos_token_id=1)
    ).eval()  # fmt: skip
    model.save_pretrained(tmp_path)
    tiny.make_tokenizer(adds_bos=True).save_pretrained(tmp_path)
    engine = open_local(tmp_path, dtype="float32")
    asked = spans([("", "Write a short story about a garden."), ("", "Write a short story about a sea."), ("", "a")])
    found = scored(engine, asked)
    for span, row in zip(asked, engine._scores.encoder.encode(asked), strict=True):
        assert found[span.key].total == pytest.approx(stepwise(model, row.ids.tolist(), row.start), abs=CLOSE)


def test_equal_texts_are_scored_once(
    open_local: OpenLocal, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_local(model_folder)
    scorer = engine._open_scorer()
    seen: list[int] = []
    run = type(scorer).run
    monkeypatch.setattr(type(scorer), "run", lambda self, ids, starts: seen.append(len(ids)) or run(self, ids, starts))
    rows = scored(engine, [Span(str(n), "a joke") for n in range(5)])
    assert seen == [1]
    assert len({row.total for row in rows.values()}) == 1


def test_plain_text_is_continued_as_it_stands(open_local: OpenLocal, model_folder: Path) -> None:
    engine = open_local(model_folder)
    chat = (Message("user", "Tell me a joke \n"),)
    plain, chatted = Request("i", 0, chat, plain=True), Request("i", 0, chat)
    (prompt,) = engine._prompts([plain])
    bos = engine.tokenizer.bos_token_id
    assert list(prompt.ids) == [bos, *engine.tokenizer("Tell me a joke", add_special_tokens=False).input_ids]
    sampling = Sampling(temperature=0, max_tokens=4)
    keys = [engine.plan([request], sampling)[0].key for request in (plain, chatted)]
    assert keys[0] != keys[1]
    ((_, (response,)),) = engine.generate(engine.plan([plain], sampling), sampling, config="m")
    assert response.prompt_tokens == len(prompt.ids)


def test_cached_scores_are_the_same_and_two_checkpoints_share_none(tmp_path: Path, tiny: SimpleNamespace) -> None:
    from evenhand.engines.spec import EngineOptions, open_engine

    folder = tmp_path / "model"
    tokenizer = tiny.make_tokenizer(adds_bos=True)
    found = []
    for seed in (1, 1, 2):
        tiny.make_model(seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        engine: Any = open_engine(f"hf/{folder}", cache=tmp_path / "cache.sqlite", options=EngineOptions(device="cpu"))
        found.append(scored(engine, spans()))
        touched = engine.engine._scorer is not None
        assert touched == (len(found) != 2)  # the second time everything comes from the cache
        engine.close()
    assert found[0] == found[1]
    assert all(found[0][key].total != found[2][key].total for key in found[0])


sequences = st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=9), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(sequences, st.integers(1, 20))
def test_a_pack_holds_every_path_and_sees_its_ancestors_alone(rows: list[list[int]], row_tokens: int) -> None:
    ids = sorted((np.asarray(row, dtype=np.int32) for row in rows), key=sort_key)
    packed = pack(ids, [1] * len(ids), row_tokens, pad=9)
    width = packed.tokens.shape[1]
    flat = packed.tokens.reshape(-1)
    for sequence, (low, high) in zip(ids, packed.bounds, strict=True):
        nodes = packed.nodes[packed.at[low:high]]
        assert flat[nodes].tolist() == sequence[:-1].tolist()
        assert packed.target[low:high].tolist() == sequence[1:].tolist()
        assert packed.depths.reshape(-1)[nodes].tolist() == list(range(len(nodes)))
        row = nodes[0] // width
        for depth, node in enumerate(nodes):
            assert set(np.flatnonzero(packed.mask[row, node % width])) == {int(n % width) for n in nodes[: depth + 1]}


def test_equality_with_lm_eval(public_data: Callable[[str], Path]) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    import warnings

    from evenhand.engines.local import open_organism
    from evenhand.engines.spec import EngineOptions, parse_spec
    from evenhand.methods.reward.margins.winoqueer import WinoQueer
    from evenhand.organisms import organism_folder

    pairs = WinoQueer(public_data("winoqueer")).pairs()[::182]
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.harmful, pair.comparison)))[:500]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        peer = HFLM(pretrained=str(organism_folder("aligned")), device="cpu", dtype="float32", batch_size=16)
        requests = [Instance("loglikelihood", {}, ("", text), n) for n, text in enumerate(texts)]
        theirs = [total for total, _ in peer.loglikelihood(requests, disable_tqdm=True)]
    engine = open_organism(parse_spec("organism/aligned"), EngineOptions(device="cpu", dtype="float32"))
    ours = scored(engine, spans([("", text) for text in texts]))
    assert len(texts) == 500
    np.testing.assert_allclose([ours[f"{n:03d}"].total for n in range(500)], theirs, atol=1e-3)
