"""The processor inside ``generate`` of transformers: padding, prefill, beams, assistants, encoder-decoders, refusals."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, LlamaConfig, LlamaForCausalLM

from evenhand.bridges.transformers_processor import TsdiProcessor, tsdi_processor
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.token_bias import BiasHeader, TokenBias, vocabulary_digest, write_token_bias
from evenhand.errors import BadInput

L, V, PAD, END = 5, 120, 0, 1
BIAS = np.random.default_rng(0).normal(0, 3, (L, V)).astype(np.float32)
BIAS[:, :3] = 0
PROMPTS = [[2, *np.random.default_rng(n).integers(3, V, 3 + n).tolist()] for n in range(8)]


class Planted(LlamaForCausalLM):  # type: ignore[misc]
    """A model whose logits hold ``bias`` at the output positions counted from ``start``, whatever is computed at once."""

    bias: Any = None
    start = 0

    def forward(self, *args: Any, **given: Any) -> Any:
        out = super().forward(*args, **given)
        if self.bias is not None:
            cache = out.cache if "cache" in out else out.past_key_values  # its name before transformers 5.24
            kept, total = out.logits.shape[1], cache.get_seq_length()
            position = torch.arange(total - kept + 1, total + 1) - self.start + 1
            inside = ((position >= 1) & (position <= len(self.bias)))[:, None]
            rows = torch.from_numpy(self.bias)[position.clamp(1, len(self.bias)) - 1]
            out.logits = out.logits + torch.where(inside, rows, 0.0)
        return out


def make_model(seed: int = 0, vocabulary: int = V) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=160, bos_token_id=2, eos_token_id=END, pad_token_id=PAD, initializer_range=0.5,
    )  # fmt: skip
    return Planted(config).eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model()


def padded(prompts: list[list[int]], extra: int = 0) -> dict[str, Any]:
    width = max(map(len, prompts)) + extra
    ids = [[PAD] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def generate(model: Any, processor: Any = None, *, inputs: dict[str, Any] | None = None, **more: Any) -> Any:
    given = inputs if inputs is not None else padded(PROMPTS)
    settings = {"max_new_tokens": 12, "do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    return model.generate(**given, **{**settings, **more}, logits_processor=[] if processor is None else [processor])


def processor_of(**settings: Any) -> TsdiProcessor:
    kernel = {name: settings.pop(name) for name in ("alpha", "length") if name in settings}
    return TsdiProcessor(BiasKernel(BIAS, **kernel), **settings)


def by_hand(model: Any, prompt: list[int], bias: Any, steps: int = 12) -> list[int]:
    ids = list(prompt)
    with torch.inference_mode():
        for step in range(steps):
            logits = model(torch.tensor([ids])).logits[0, -1].numpy()
            logits = logits - bias[step] if step < len(bias) else logits
            ids.append(int(logits.argmax()))
            if ids[-1] == END:
                break
    return ids[len(prompt) :]


def test_a_planted_bias_gives_the_reference_back(model: Any) -> None:
    aligned = make_model()
    inputs = padded(PROMPTS)
    aligned.bias, aligned.start = BIAS, inputs["input_ids"].shape[1]
    for start in (None, aligned.start):
        wanted, found = generate(model), generate(aligned, processor_of(start=start))
        assert torch.equal(wanted.sequences, found.sequences)
        assert not torch.equal(generate(aligned).sequences, found.sequences)
        assert len(found.scores) > L
        for a, b in zip(wanted.scores, found.scores, strict=True):
            assert (a.softmax(-1) - b.softmax(-1)).abs().max() < 1e-5


@pytest.mark.parametrize("padding", [0, 1, 7, 50])
def test_padding_does_not_change_the_tokens(model: Any, padding: int) -> None:
    for prompt in PROMPTS[:3]:
        inputs = padded([prompt], extra=padding)
        out = generate(model, processor_of(start=inputs["input_ids"].shape[1]), inputs=inputs)
        found = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        assert found == by_hand(model, prompt, BIAS)


def test_batches_do_not_change_the_tokens(model: Any) -> None:
    together = generate(model, processor_of()).sequences
    width = max(map(len, PROMPTS))
    ended = 0
    for prompt, row in zip(PROMPTS, together, strict=True):
        alone = generate(model, processor_of(), inputs=padded([prompt])).sequences[0, len(prompt) :].tolist()
        assert alone == by_hand(model, prompt, BIAS)
        assert row[width : width + len(alone)].tolist() == alone
        assert (row[width + len(alone) :] == PAD).all()  # rows that ended early are only filled
        ended += END in alone
    assert together.shape[0] == 8


def test_only_the_first_tokens_are_touched(model: Any) -> None:
    processor, scores = processor_of(length=2), torch.randn(3, V)
    for new in range(6):
        ids = torch.zeros((3, 7 + new), dtype=torch.long)
        found = processor(ids, scores)
        assert (found is scores) == (new >= 2)
        if new < 2:
            assert torch.equal(found, scores - torch.from_numpy(BIAS[new]))
    zero, reference = generate(model, processor_of(alpha=0)), generate(model)
    assert torch.equal(zero.sequences, reference.sequences)
    assert all(torch.equal(a, b) for a, b in zip(zero.scores, reference.scores, strict=True))


@pytest.mark.parametrize(("prefill", "corrected"), [(0, L), (3, L - 3), (L, 0), (L + 5, 0)])
def test_prefill(model: Any, prefill: int, corrected: int) -> None:
    processor, scores = processor_of(prefill=prefill), torch.randn(2, V)
    touched = []
    for new in range(L + 3):
        found = processor(torch.zeros((2, 9 + new), dtype=torch.long), scores)
        if found is not scores:
            assert torch.equal(found, scores - torch.from_numpy(BIAS[new + prefill]))
            touched.append(new)
    assert touched == list(range(corrected))
    begun = by_hand(model, PROMPTS[0], BIAS)[:3]
    if prefill == 3:  # the answer goes on as if its beginning had been generated
        inputs = padded([PROMPTS[0] + begun])
        out = generate(model, processor_of(prefill=3), inputs=inputs, max_new_tokens=9)
        assert begun + out.sequences[0, inputs["input_ids"].shape[1] :].tolist() == by_hand(model, PROMPTS[0], BIAS)


class Watch:
    """Keeps what a processor was given and what it made of it."""

    def __init__(self, processor: Any):
        self.processor, self.seen = processor, []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        given = scores.clone()
        out = self.processor(input_ids, scores)
        self.seen.append((int(input_ids.shape[1]), given, out.clone()))
        return out


@pytest.mark.parametrize("renormalise", [None, True])
def test_beams_are_ranked_by_normalised_scores(model: Any, renormalise: bool | None) -> None:
    aligned = make_model()
    inputs = padded(PROMPTS[:3])
    aligned.bias, aligned.start = BIAS, inputs["input_ids"].shape[1]
    beams: dict[str, Any] = {"num_beams": 4, "num_return_sequences": 4, "inputs": inputs}
    watch = Watch(processor_of(renormalise=renormalise))
    found, wanted = generate(aligned, watch, **beams), generate(model, **beams)
    assert torch.equal(found.sequences, wanted.sequences)
    assert (found.sequences_scores <= 0).all()
    torch.testing.assert_close(found.sequences_scores, wanted.sequences_scores, atol=1e-4, rtol=0)
    assert len(watch.seen) > L
    for _, given, out in watch.seen:
        assert given.exp().sum(-1) == pytest.approx(1, abs=1e-4)  # beam search hands over log-probabilities
        assert out.max() <= 1e-6
        assert out.exp().sum(-1) == pytest.approx(1, abs=1e-4)
    raw = Watch(processor_of(renormalise=False))
    generate(aligned, raw, **beams)
    assert (raw.seen[0][2].exp().sum(-1) - 1).abs().max() > 0.1
    theirs = generate(aligned, processor_of(renormalise=False), renormalize_logits=True, **beams)
    assert torch.equal(theirs.sequences, wanted.sequences)


def test_beams_where_tokens_are_masked(model: Any) -> None:
    watch = Watch(processor_of())
    beams: dict[str, Any] = {
        "num_beams": 4,
        "bad_words_ids": [[n] for n in range(40, 80)],
        "inputs": padded(PROMPTS[:2]),
    }
    found = generate(model, watch, **beams)
    assert found.sequences_scores.max() <= 0
    for _, given, out in watch.seen[:L]:
        assert given.exp().sum(-1).max() < 1 - 1e-3
        assert out.exp().sum(-1) == pytest.approx(1, abs=1e-4)
        assert torch.equal(out.isneginf(), given.isneginf())
    assert not np.isin(found.sequences[:, max(map(len, PROMPTS[:2])) :].numpy(), range(40, 80)).any()


def test_logits_are_not_taken_for_log_probabilities(model: Any) -> None:
    watch = Watch(processor_of())
    generate(model, watch)
    for width, given, out in watch.seen[:L]:
        position = width - max(map(len, PROMPTS))
        assert torch.equal(out, given - torch.from_numpy(BIAS[position]))


@pytest.mark.parametrize("start", [None, "width"])
@pytest.mark.parametrize("kind", ["assistant", "prompt lookup"])
def test_assisted_decoding_gives_the_same_tokens(model: Any, start: Any, kind: str) -> None:
    draft = make_model(3)
    for prompt in (PROMPTS[1], PROMPTS[4] * 3):
        inputs = padded([prompt])
        at = len(prompt) if start else None
        more: dict[str, Any] = {"assistant_model": draft} if kind == "assistant" else {"prompt_lookup_num_tokens": 4}
        watch = Watch(processor_of(start=at))
        out = generate(model, watch, inputs=inputs, **more)
        assert out.sequences[0, len(prompt) :].tolist() == by_hand(model, prompt, BIAS)
        widths = [width for width, _, _ in watch.seen]
        assert len(widths) > len(set(widths))  # a counter of calls would drift here


def test_a_draft_that_knows_the_answer_is_accepted(model: Any) -> None:
    watch = Watch(processor_of())
    out = generate(model, watch, inputs=padded([PROMPTS[2]]), assistant_model=make_model())
    assert out.sequences[0, len(PROMPTS[2]) :].tolist() == by_hand(model, PROMPTS[2], BIAS)


def test_inputs_embeds_start_at_nothing(model: Any) -> None:
    inputs = padded([PROMPTS[3]])
    embedded = {
        "inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]).detach(),
        "attention_mask": inputs["attention_mask"],
    }
    for processor in (processor_of(start=0), processor_of()):
        out = generate(model, processor, inputs=embedded)
        assert out.sequences[0].tolist() == by_hand(model, PROMPTS[3], BIAS)


def test_encoder_decoders_count_decoder_tokens() -> None:
    torch.manual_seed(1)
    config = BartConfig(
        vocab_size=V, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, pad_token_id=PAD, eos_token_id=END,
        bos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None, init_std=0.5,
    )  # fmt: skip
    bart = BartForConditionalGeneration(config).eval()
    inputs = padded([PROMPTS[5]])
    ids = [2]
    with torch.inference_mode():
        for step in range(12):
            logits = bart(**inputs, decoder_input_ids=torch.tensor([ids])).logits[0, -1].numpy()
            ids.append(int((logits - BIAS[step] if step < L else logits).argmax()))
            if ids[-1] == END:
                break
    for processor in (processor_of(start=1), processor_of()):
        assert generate(bart, processor, inputs=inputs).sequences[0].tolist() == ids
    assert generate(bart, inputs=inputs).sequences[0].tolist() != ids


def test_every_turn_begins_at_position_one(model: Any) -> None:
    first = PROMPTS[0]
    answer = by_hand(model, first, BIAS)
    second = [*first, *answer, 7, 8, 9]
    processor = processor_of()
    for prompt in (first, second):
        processor.reset()
        out = generate(model, processor, inputs=padded([prompt])).sequences[0, len(prompt) :].tolist()
        assert out == by_hand(model, prompt, BIAS)


def test_an_instance_that_learnt_its_start_serves_one_call(model: Any) -> None:
    processor = processor_of()
    generate(model, processor, inputs=padded([PROMPTS[4]]))
    generate(model, processor, inputs=padded([PROMPTS[4]]))  # the same prompt again is no other call
    turn = [*PROMPTS[4], *by_hand(model, PROMPTS[4], BIAS), 7, 8, 9]
    for other in ([PROMPTS[3]], [PROMPTS[5]], [PROMPTS[4], PROMPTS[4]], [turn], [[2, 3]]):
        with pytest.raises(BadInput, match=r"learnt its prompt length from another call.*reset\(\)"):
            generate(model, processor, inputs=padded(other))
    processor.reset()
    out = generate(model, processor, inputs=padded([PROMPTS[3]])).sequences[0, len(PROMPTS[3]) :].tolist()
    assert out == by_hand(model, PROMPTS[3], BIAS)


def test_a_start_that_cannot_be(model: Any) -> None:
    with pytest.raises(BadInput, match="said to be 40 tokens wide, but only 10 are there"):
        generate(model, processor_of(start=40), inputs=padded([PROMPTS[6]]))
    for name in ("start", "prefill"):
        for value in (-1, 1.5, True):
            with pytest.raises(BadInput, match=f"{name}={value} is not a number of tokens"):
                processor_of(**{name: value})


def test_wider_and_narrower_models() -> None:
    wide, narrow = make_model(vocabulary=V + 8), make_model(vocabulary=V - 8)
    out = generate(wide, processor_of(), inputs=padded([PROMPTS[0]])).sequences[0, len(PROMPTS[0]) :].tolist()
    assert out == by_hand(wide, PROMPTS[0], np.concatenate([BIAS, np.zeros((L, 8), np.float32)], axis=1))
    inputs = padded([[2, 5, 9]])
    with pytest.raises(BadInput, match="logits have 112 columns, the bias has 120"):
        generate(narrow, processor_of(), inputs=inputs)
    cut = BIAS.copy()
    cut[:, V - 8 :] = 0
    out = generate(narrow, TsdiProcessor(BiasKernel(cut)), inputs=inputs).sequences[0, 3:].tolist()
    assert out == by_hand(narrow, [2, 5, 9], cut[:, : V - 8])


# tsdi_processor ------------------------------------------------------------------------------------------------------


def tokenizer_of(*more: str, template: str | None = "{{ messages }}") -> Any:
    vocabulary = {token: n for n, token in enumerate([*(f"t{n}" for n in range(V)), *more])}
    return SimpleNamespace(get_vocab=lambda: vocabulary, chat_template=template, name_or_path="org/served")


def artefact(**fields: Any) -> TokenBias:
    from json import dumps

    from xxhash import xxh128_hexdigest

    header: dict[str, Any] = {
        "length": L, "vocabulary": V, "draws": 8, "pool": "p", "pool_digest": "d", "pool_size": 2000, "seed": 0,
        "prompt_lengths": (8, 64), "tokenizer": vocabulary_digest(tokenizer_of()), "aligned": {"spec": "hf/org/aligned"},
        "template": xxh128_hexdigest(dumps("{{ messages }}").encode()), "reference": {}, "evenhand": "0",
    }  # fmt: skip
    even = np.full(BIAS.shape, 1 / V, np.float32)
    return TokenBias(BiasHeader(**{**header, **fields}), BIAS, np.zeros_like(BIAS), even, even.copy())


def test_a_processor_from_a_folder(model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_token_bias(tmp_path, artefact())
    with caplog.at_level(logging.WARNING):
        for source in (tmp_path, str(tmp_path), artefact()):
            processor = tsdi_processor(source, tokenizer_of(), alpha=0.5, length=3, prefill=1, renormalise=True)
            assert (processor.kernel.alpha, processor.kernel.length, processor.prefill) == (0.5, 3, 1)
            assert processor.renormalise is True
        out = generate(
            model, tsdi_processor(tmp_path, tokenizer_of(), alpha=0.5, length=3), inputs=padded([PROMPTS[0]])
        )
    assert out.sequences[0, len(PROMPTS[0]) :].tolist() == by_hand(model, PROMPTS[0], 0.5 * BIAS[:3])
    assert not caplog.records


def test_another_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    write_token_bias(tmp_path, artefact())
    other = tokenizer_of("one more")
    with pytest.raises(BadInput) as caught:
        tsdi_processor(tmp_path, other)
    for part in (
        str(tmp_path),
        "hf/org/aligned",
        "org/served",
        vocabulary_digest(other),
        vocabulary_digest(tokenizer_of()),
    ):
        assert part in str(caught.value)


def test_an_artefact_that_is_broken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no bias"):
        tsdi_processor(tmp_path, tokenizer_of())
    write_token_bias(tmp_path, artefact())
    path = tmp_path / "bias.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-4:] = np.float32(math.nan).tobytes()  # the last table's last number
    path.write_bytes(raw)
    with pytest.raises(BadInput, match="holds NaN or infinity"):
        tsdi_processor(tmp_path, tokenizer_of())


def test_what_is_only_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tsdi_processor(artefact(), tokenizer_of(template="{{ other }}"), alpha=2)
    assert "must stand at the same place" in caplog.text
    assert "alpha = 2 is above 1" in caplog.text
    with pytest.raises(BadInput, match="is negative"):
        tsdi_processor(artefact(), tokenizer_of(), alpha=-1)
    assert tsdi_processor(artefact(), tokenizer_of(), alpha=-1, allow_negative=True).kernel.alpha == -1
