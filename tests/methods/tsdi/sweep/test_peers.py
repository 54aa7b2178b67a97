"""TSDI's peers on tiny random models: what each does to the logits, and that nothing of it leaks into anything else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.datasets.question_texts import CAREFUL_SYSTEM_PROMPT, OPEN_SYSTEM_PROMPT
from evenhand.engines.base import Engine, Request, Sampling
from evenhand.engines.cache import CachedEngine
from evenhand.engines.local import LocalEngine, open_hf
from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import EngineOptions, open_engine, parse_spec
from evenhand.errors import BadInput, EngineError
from evenhand.records import Message, Response

torch = torch_with_threads()

from evenhand.engines.decode import Decoder  # noqa: E402
from evenhand.engines.logits import uniforms  # noqa: E402
from evenhand.methods.tsdi.sweep.peer_decode import OtherDecoder, PairedDecoder, contrast, interpolate  # noqa: E402
from evenhand.methods.tsdi.sweep.peers import PEERS, StaticKernel, logit_bias, open_peer, read_prompt  # noqa: E402  # noqa: E402

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "Sorry, I cannot help with that.",
    "No, I will not.",
    "Of course. Here is a plan.",
    "How do I bake bread?",
] * 9
WORDS = "Tell me a joke about cats. Help me plan a trip to the sea, with bread and a garden."
PROMPTS = [WORDS[: 3 + (7 * n) % 60] for n in range(8)]
GREEDY = Sampling(temperature=0, max_tokens=12)
SAMPLED = Sampling(temperature=1, max_tokens=12, seed=11)
NUCLEUS = Sampling(temperature=0.8, top_p=0.7, max_tokens=12, seed=3)
SAMPLINGS = pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, NUCLEUS], ids=["greedy", "sampled", "nucleus"])


def make_tokenizer(corpus: Sequence[str] = CORPUS) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        corpus,
        trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[3:],
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(seed: int, **config: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 192, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 2, "initializer_range": 0.4,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **config})).eval()


def saved(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models of one tokenizer, one with a short context, one with padded logits, one of another tokenizer."""
    root, tokenizer = tmp_path_factory.mktemp("peers"), make_tokenizer()
    other = make_tokenizer([text[::-1] for text in CORPUS])
    return {
        "aligned": saved(root / "aligned", make_model(0), tokenizer),
        "reference": saved(root / "reference", make_model(1), tokenizer),
        "short": saved(root / "short", make_model(1, max_position_embeddings=48), tokenizer),
        "wide": saved(root / "wide", make_model(1, vocab_size=344), tokenizer),
        "other": saved(root / "other", make_model(2), other),
    }


def opened(folder: Path, **options: Any) -> LocalEngine:
    return open_hf(parse_spec(f"hf/{folder}"), EngineOptions(device="cpu", dtype="float32", **options))


@pytest.fixture(scope="module")
def aligned(folders: dict[str, Path]) -> Iterator[LocalEngine]:
    engine = opened(folders["aligned"])
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(folders: dict[str, Path]) -> Iterator[LocalEngine]:
    engine = opened(folders["reference"])
    yield engine
    engine.close()


def ask(texts: Sequence[str] = PROMPTS, repetitions: int = 2, system: str | None = None) -> list[Request]:
    head = (Message("system", system),) if system else ()
    return [
        Request(f"item-{i}", r, (*head, Message("user", text)))
        for i, text in enumerate(texts)
        for r in range(repetitions)
    ]


def run(engine: Any, requests: Sequence[Request], sampling: Sampling) -> dict[tuple[str, int], Response]:
    batches = engine.plan(requests, sampling)
    rows = [row for _, part in engine.generate(batches, sampling, config="c") for row in part]
    assert len(rows) == len(requests)
    return {(row.item_id, row.repetition): row for row in rows}


def peer(name: str, engine: Engine, reference: Engine | None, strength: float = 0.7, **more: Any) -> Any:
    strength = 1 if name == "system_prompt" and strength else strength
    return open_peer(name, engine, strength=strength, reference=reference if name == "interpolation" else None, **more)


def token_ids(engine: Any, request: Request) -> list[int]:
    return list(engine.renderer.prompts([request.chat])[0].ids)


def full(model: Any, ids: Sequence[int]) -> Any:
    """Logits after a whole context, computed without a cache."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[:, -1].float()


@SAMPLINGS
@pytest.mark.parametrize("name", PEERS)
def test_strength_0_is_the_plain_engine(
    name: str, aligned: LocalEngine, reference: LocalEngine, sampling: Sampling
) -> None:
    requests = ask()
    engine = peer(name, aligned, reference, strength=0)
    assert engine.plan(requests, sampling) == aligned.plan(requests, sampling)
    assert engine.estimate(requests, sampling) == aligned.estimate(requests, sampling)
    assert run(engine, requests, sampling) == run(aligned, requests, sampling)
    assert engine.identity().digest != aligned.identity().digest


@SAMPLINGS
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_says_something_else(
    name: str, aligned: LocalEngine, reference: LocalEngine, sampling: Sampling
) -> None:
    engine = peer(name, aligned, reference, strength=0.9 if name != "static" else 40.0)
    assert isinstance(engine, Engine)
    ours, plain = run(engine, ask(), sampling), run(aligned, ask(), sampling)
    changed = sum(ours[key].text != plain[key].text for key in plain)
    assert changed > (0 if name == "static" else len(plain) / 4)  # few tokens of a random model are openers
    assert not any(row.error for row in ours.values())


@SAMPLINGS
def test_two_sides_whose_second_counts_nothing_draw_what_one_does(aligned: LocalEngine, sampling: Sampling) -> None:
    plain = aligned.decoder
    other = OtherDecoder(plain.model, plain.end_ids, plain.pad_id)
    two = PairedDecoder(plain.model, plain.end_ids, plain.pad_id, other=other, mix=lambda ours, _: ours)
    prompts = [tuple(token_ids(aligned, request)) for request in ask(repetitions=1)]
    two.replaced = {ids: (*ids[:1], *ids[1:4], *ids[1:]) for ids in prompts}
    rows = [index for index in range(len(prompts)) for _ in range(3)]
    drawn = uniforms(5, [(str(row), k) for k, row in enumerate(rows)], 12) if sampling.temperature else None
    limits = [3 + row % 9 for row in rows]
    assert two.run(prompts, rows, limits, sampling, drawn) == plain.run(prompts, rows, limits, sampling, drawn)


@SAMPLINGS
def test_at_weight_1_the_reference_speaks(aligned: LocalEngine, reference: LocalEngine, sampling: Sampling) -> None:
    requests = ask()
    assert run(peer("interpolation", aligned, reference, strength=1), requests, sampling) == run(
        reference, requests, sampling
    )


@SAMPLINGS
@pytest.mark.parametrize("name", PEERS)
def test_batches_do_not_change_the_text(
    name: str, folders: dict[str, Path], reference: LocalEngine, sampling: Sampling
) -> None:
    alone, joined = opened(folders["aligned"], batch_tokens=1), opened(folders["aligned"], batch_tokens=10**6)
    requests = ask(repetitions=3)
    apart, together = peer(name, alone, reference), peer(name, joined, reference)
    assert len(apart.plan(requests, sampling)) == len(PROMPTS)
    assert len(together.plan(requests, sampling)) == 1
    expected = run(together, requests, sampling)
    assert run(apart, requests, sampling) == expected
    some = requests[7:22:3]
    assert run(together, some, sampling) == {(r.item_id, r.repetition): expected[r.item_id, r.repetition] for r in some}
    together.decoder.share_prefix = False
    assert run(together, requests, sampling) == expected


def test_static_is_the_sequence_bias_of_transformers(aligned: LocalEngine) -> None:
    engine = peer("static", aligned, None, strength=3.5)
    ours = run(engine, ask(repetitions=1), GREEDY)
    assert engine.openers
    assert not set(engine.openers) & set(engine.tokenizer.all_special_ids)
    first = [engine.tokenizer.decode([token]).strip() for token in engine.openers]
    assert {"Sorry", "No"} <= set(first)
    for request in ask(repetitions=1):
        ids = token_ids(engine, request)
        out = engine.model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=12,
            do_sample=False, sequence_bias={(token,): -3.5 for token in engine.openers},
        )[0, len(ids) :]  # fmt: skip
        row = ours[request.item_id, 0]
        assert row.text == engine.tokenizer.decode(out, skip_special_tokens=True)
        assert row.completion_tokens == len(out)


def test_a_large_static_bias_silences_the_openers_everywhere(aligned: LocalEngine) -> None:
    engine = peer("static", aligned, None, strength=1000.0)
    plain, ours = aligned.decoder, engine.decoder
    prompts = [token_ids(aligned, request) for request in ask(repetitions=1)]
    rows = list(range(len(prompts))) * 4
    drawn = uniforms(1, [(str(row), k) for k, row in enumerate(rows)], 12)
    silent = ours.run(prompts, rows, [12] * len(rows), SAMPLED, drawn)
    assert not {t for done in silent for t in done.tokens} & set(engine.openers)
    assert {t for done in plain.run(prompts, rows, [12] * len(rows), SAMPLED, drawn) for t in done.tokens} & set(
        engine.openers
    )


def test_the_static_kernel_knows_no_position() -> None:
    kernel = StaticKernel([2, 5], 8, 1.5)
    assert not kernel.warnings
    logits = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    expected = logits.copy()
    expected[:, [2, 5]] -= np.float32(1.5)
    for positions in (1, 400, np.array([1, 2, 99])):
        assert np.array_equal(kernel.apply(logits, positions), expected)
        assert np.array_equal(kernel.apply(torch.from_numpy(logits), positions).numpy(), expected)
    with pytest.raises(BadInput, match="have 5 columns, the bias has 8"):
        kernel.fits(5)


def test_the_static_bias_as_a_logit_bias() -> None:
    assert logit_bias([3, 17], 2.5) == {"3": -2.5, "17": -2.5}
    for wrong in (100.5, math.nan, math.inf):
        with pytest.raises(BadInput, match="logit_bias of"):
            logit_bias([3], wrong)


def test_the_system_prompt_stands_before_chats_that_have_none(aligned: LocalEngine) -> None:
    engine = peer("system_prompt", aligned, None)
    bare, open_, own = ask(), ask(system=OPEN_SYSTEM_PROMPT), ask(system="Rhyme.")
    assert run(engine, bare, SAMPLED) == run(aligned, open_, SAMPLED)
    assert run(engine, own, SAMPLED) == run(aligned, own, SAMPLED)
    mine = peer("system_prompt", aligned, None, prompt="Rhyme.")
    assert run(mine, bare, SAMPLED) == run(aligned, own, SAMPLED)
    assert engine.estimate(bare, SAMPLED) == aligned.estimate(open_, SAMPLED)


@pytest.mark.parametrize("strength", [0.3, 1.0, 2.5])
def test_self_cd_is_the_formula_over_whole_contexts(aligned: LocalEngine, strength: float) -> None:
    """Every step of every row against two passes over the whole context, without cache, padding or sharing."""
    engine = peer("self_cd", aligned, None, strength=strength)
    seen: list[Any] = []
    mix = engine.decoder.mix

    def watched(ours: Any, theirs: Any) -> Any:
        seen.append(mix(ours, theirs))
        return seen[-1]

    engine.decoder.mix = watched
    for request in [*ask(PROMPTS[:4], 1), *ask(PROMPTS[:2], 1, "Rhyme.")]:
        seen.clear()
        careful = replace(request, chat=(Message("system", CAREFUL_SYSTEM_PROMPT), request.chat[-1]))
        if len(request.chat) == 2:
            text = f"{CAREFUL_SYSTEM_PROMPT}\n\nRhyme."
            careful = replace(request, chat=(Message("system", text), request.chat[-1]))
        plain_ids, careful_ids = token_ids(aligned, request), token_ids(aligned, careful)
        drawn: list[int] = []
        row = run(engine, [request], GREEDY)[request.item_id, 0]
        for step in range(row.completion_tokens or 0):
            z, zc = (full(aligned.model, [*ids, *drawn]) for ids in (plain_ids, careful_ids))
            expected = z - strength * (zc - z)
            assert torch.allclose(seen[step], expected, atol=1e-4)
            drawn.append(int(expected.argmax()))
        assert row.text == engine.tokenizer.decode(drawn, skip_special_tokens=True)
        assert len(drawn) == GREEDY.max_tokens or drawn[-1] == 1


def test_self_cd_rows_in_one_batch_have_the_logits_of_rows_alone(aligned: LocalEngine) -> None:
    """A batch with padding on both sides, forks and rows that end early: the greedy tokens of the brute force for each."""
    engine = peer("self_cd", aligned, None, strength=0.8)
    requests = [*ask(repetitions=1), *[replace(r, item_id=f"s-{r.item_id}") for r in ask(PROMPTS[::2], 1, "Rhyme.")]]
    rows = run(engine, requests, GREEDY)
    for request in requests:
        own = request.chat[0].content if len(request.chat) == 2 else ""
        text = f"{CAREFUL_SYSTEM_PROMPT}\n\n{own}".strip()
        careful = replace(request, chat=(Message("system", text), request.chat[-1]))
        sides = [token_ids(aligned, side) for side in (request, careful)]
        drawn: list[int] = []
        while len(drawn) < 12 and drawn[-1:] != [1]:
            z, zc = (full(aligned.model, [*ids, *drawn]) for ids in sides)
            drawn.append(int((z - 0.8 * (zc - z)).argmax()))
        assert rows[request.item_id, 0].text == engine.tokenizer.decode(drawn, skip_special_tokens=True)


def test_interpolation_mixes_log_probabilities(aligned: LocalEngine, folders: dict[str, Path]) -> None:
    wide = opened(folders["wide"])
    engine = peer("interpolation", aligned, wide, strength=0.4)
    rows = run(engine, ask(repetitions=1), GREEDY)
    for request in ask(repetitions=1):
        ids, drawn = token_ids(aligned, request), list[int]()
        while len(drawn) < 12 and drawn[-1:] != [1]:
            z, zr = (full(model, [*ids, *drawn])[:, :320] for model in (aligned.model, wide.model))
            drawn.append(int((0.6 * z.log_softmax(-1) + 0.4 * zr.log_softmax(-1)).argmax()))
        assert rows[request.item_id, 0].text == engine.tokenizer.decode(drawn, skip_special_tokens=True)


def test_what_a_side_rules_out() -> None:
    inf = math.inf
    plain, careful = torch.tensor([[1.0, -inf, 0.5, 2.0]]), torch.tensor([[0.0, 3.0, -inf, 4.0]])
    assert contrast(plain, careful, 0.5).tolist() == [[1.5, -inf, 0.5, 1.0]]
    mixed = interpolate(plain, careful, 0.5)
    assert torch.isneginf(mixed[0, 1:3]).all()
    assert torch.isfinite(mixed[0, [0, 3]]).all()
    assert interpolate(plain, careful, 1) is not plain
    assert torch.equal(interpolate(plain, careful, 1), careful)


def test_logits_that_are_not_numbers_fail_their_row_alone(folders: dict[str, Path], aligned: LocalEngine) -> None:
    broken = opened(folders["reference"])
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[250] = math.nan
        broken.model.lm_head.weight = torch.nn.Parameter(make_model(1).lm_head.weight.detach().clone())
    engine = peer("interpolation", aligned, broken, strength=0.5)
    prompts = [[0, 4, 10, 11, 12, 1, 5], [0, 4, 250, 11, 1, 5], [0, 4, 13, 1, 5]]
    done = engine.decoder.run(prompts, [0, 1, 2, 0], [5] * 4, GREEDY, None)
    assert [row.finish == "error" for row in done] == [False, True, False, False]
    assert "not numbers at token 1" in done[1].error
    alone = engine.decoder.run(prompts[2:], [0], [5], GREEDY, None)
    assert alone[0] == done[2]


def test_a_plain_text_is_changed_by_interpolation_alone(aligned: LocalEngine, reference: LocalEngine) -> None:
    requests = [Request(f"t{i}", 0, (Message("user", text),), plain=True) for i, text in enumerate(PROMPTS)]
    plain = run(aligned, requests, SAMPLED)
    for name in PEERS:
        rows = run(peer(name, aligned, reference, strength=0.9 if name != "static" else 50.0), requests, SAMPLED)
        assert (rows == plain) == (name != "interpolation")


def test_the_second_side_must_fit_its_context_too(folders: dict[str, Path], aligned: LocalEngine) -> None:
    careful = len(token_ids(aligned, ask(["a"], 1, CAREFUL_SYSTEM_PROMPT)[0])) - len(
        token_ids(aligned, ask(["a"], 1)[0])
    )
    cut = 192 - careful
    sampling = Sampling(temperature=0, max_tokens=60)
    rows = run(peer("self_cd", aligned, None, strength=0.5), ask(["z" * 180, "a", "z" * (cut - 8)], 1), sampling)
    assert "with the system prompt of Self-CD the model takes 192" in rows["item-0", 0].error
    assert not rows["item-1", 0].error
    assert (rows["item-2", 0].completion_tokens or 0) <= 192 - careful - len(
        token_ids(aligned, ask(["z" * (cut - 8)], 1)[0])
    )
    short = opened(folders["short"])
    rows = run(peer("interpolation", aligned, short, strength=0.5), ask(["z" * 60, "a"], 1), sampling)
    assert "short takes 48" in rows["item-0", 0].error
    row = rows["item-1", 0]
    assert (row.prompt_tokens or 0) + (row.completion_tokens or 0) <= 48
    assert run(peer("interpolation", aligned, short, strength=0), ask(["z" * 60], 1), sampling)["item-0", 0].error == ""


def test_half_a_surrogate_pair_fails_its_row_alone(aligned: LocalEngine) -> None:
    rows = run(peer("self_cd", aligned, None, strength=0.5), ask(["lone \ud800", "lone \ud801 too", "a"], 1), GREEDY)
    assert [bool(rows[f"item-{i}", 0].error) for i in range(3)] == [True, True, False]


def test_the_plan_and_the_estimate_count_both_sides(aligned: LocalEngine, reference: LocalEngine) -> None:
    requests, careful = ask(), ask(system=CAREFUL_SYSTEM_PROMPT)
    plain, other = aligned.estimate(requests, GREEDY), aligned.estimate(careful, GREEDY)
    cost = peer("self_cd", aligned, None).estimate(requests, GREEDY)
    assert cost.prompt_tokens == plain.prompt_tokens + other.prompt_tokens
    assert (cost.calls, cost.max_completion_tokens) == (plain.calls, plain.max_completion_tokens)
    both = peer("interpolation", aligned, reference).estimate(requests, GREEDY)
    assert both.prompt_tokens == 2 * plain.prompt_tokens


def test_settings_never_share_a_cached_row(aligned: LocalEngine, reference: LocalEngine, tmp_path: Path) -> None:
    cached = CachedEngine(aligned, tmp_path / "cache.sqlite")
    settings: list[dict[str, Any]] = [
        {"name": "static", "strength": 1.0}, {"name": "static", "strength": 1.1},
        {"name": "system_prompt", "strength": 1.0}, {"name": "system_prompt", "strength": 1.0, "prompt": "Rhyme."},
        {"name": "self_cd", "strength": 1.0}, {"name": "self_cd", "strength": 0.5},
        {"name": "self_cd", "strength": 0.5, "prompt": "Rhyme."},
        {"name": "interpolation", "strength": 0.5, "reference": reference},
        {"name": "interpolation", "strength": 0.5, "reference": aligned},
    ]  # fmt: skip
    engines = [open_peer(s.pop("name"), cached, **s) for s in settings]
    digests = [engine.identity().digest for engine in [aligned, *engines]]
    assert len(set(digests)) == len(digests)
    for engine in engines:
        assert isinstance(engine, CachedEngine)
        assert "peer " in engine.identity().processors
        assert engine.estimate(ask(), SAMPLED).calls == len(ask())
        first = run(engine, ask(), SAMPLED)
        assert engine.estimate(ask(), SAMPLED).calls == 0
        assert run(engine, ask(), SAMPLED) == first == run(engine.engine, ask(), SAMPLED)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_an_adapter_that_is_off_is_off_on_its_own_side_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(make_model(0), config).save_pretrained(tmp_path / "lora")
    base = f"hf/{folders['aligned']}"
    tuned: Any = open_engine(f"{base}+{tmp_path / 'lora'}", options=EngineOptions(device="cpu", dtype="float32"))
    bare = tuned.without_adapter(base)
    assert bare.model is tuned.model
    requests = ask()
    expected = {e.spec: run(e, requests, SAMPLED) for e in (tuned, bare)}
    assert expected[tuned.spec] != expected[bare.spec]
    for one, two in ((tuned, bare), (bare, tuned)):
        for weight, speaks in ((1.0, two), (1e-9, one)):
            engine = open_peer("interpolation", one, strength=weight, reference=two)
            found = run(engine, requests, SAMPLED)
            assert {k: r.text for k, r in found.items()} == {k: r.text for k, r in expected[speaks.spec].items()}
    assert run(tuned, requests, SAMPLED) == expected[tuned.spec]
    assert run(open_peer("static", bare, strength=0), requests, SAMPLED) == expected[bare.spec]


def test_stop_strings_work_on_two_sides(aligned: LocalEngine, reference: LocalEngine) -> None:
    engine = peer("interpolation", aligned, reference, strength=0.5)
    free = run(engine, ask(), SAMPLED)
    pieces = sorted({r.text[3:6] for r in free.values() if len(r.text) > 6 and "\ufffd" not in r.text[3:6]})[:5]
    assert pieces
    for key, row in run(engine, ask(), SAMPLED.model_copy(update={"stop": tuple(pieces)})).items():
        ends = [free[key].text.find(piece) for piece in pieces if piece in free[key].text]
        assert row.text == (free[key].text[: min(ends)] if ends else free[key].text)


def test_only_text(aligned: LocalEngine) -> None:
    engine = peer("self_cd", aligned, None)
    assert engine.verbs == {"generate"}
    with pytest.raises(EngineError, match="only generates"):
        engine.plan_scores([])
    with pytest.raises(EngineError, match="only generates"):
        engine.choose([])
    engine.close()
    assert run(aligned, ask(), GREEDY)


@pytest.mark.parametrize("strength", [math.nan, math.inf, -0.5, True, "1"])
@pytest.mark.parametrize("name", PEERS)
def test_impossible_strengths(name: str, strength: Any, aligned: LocalEngine, reference: LocalEngine) -> None:
    with pytest.raises(BadInput, match="not a finite number of at least 0"):
        open_peer(name, aligned, strength=strength, reference=reference if name == "interpolation" else None)


def test_what_cannot_be_opened(aligned: LocalEngine, reference: LocalEngine, folders: dict[str, Path]) -> None:
    other, endpoint = opened(folders["other"]), open_engine("http://127.0.0.1:9/v1#m")
    cases: list[tuple[str, Engine, dict[str, Any], str]] = [
        ("nothing", aligned, {"strength": 1}, "Unknown peer 'nothing'.*Known: static"),
        ("static", endpoint, {"strength": 1}, "is not a local model"),
        ("interpolation", aligned, {"strength": 1, "reference": endpoint}, "is not a local model"),
        ("interpolation", aligned, {"strength": 1}, "needs a reference"),
        ("static", aligned, {"strength": 1, "reference": reference}, "no use for a reference"),
        ("interpolation", aligned, {"strength": 1.5, "reference": reference}, "above 1"),
        ("interpolation", aligned, {"strength": 0.5, "reference": other}, "aligned and .*other have different vocab"),
        ("system_prompt", aligned, {"strength": 0.5}, "has no strength 0.5"),
        ("static", aligned, {"strength": 1, "prompt": "x"}, "has no system prompt"),
        ("self_cd", aligned, {"strength": 1, "prompt": " "}, "is empty"),
        ("self_cd", peer("static", aligned, None), {"strength": 1}, "already corrected"),
    ]
    for name, engine, more, message in cases:
        with pytest.raises(BadInput, match=message):
            open_peer(name, engine, **more)


def test_a_system_prompt_from_a_file(tmp_path: Path, aligned: LocalEngine) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("\ufeff Rhyme.\n", encoding="utf-8")
    assert read_prompt(path) == "Rhyme."
    named = open_peer("self_cd", aligned, strength=1, prompt=path)
    assert named.identity() == open_peer("self_cd", aligned, strength=1, prompt="Rhyme.").identity()
    for data, message in ((b"\xff\xfe", "not UTF-8"), (b" \n", "is empty"), (b"a" * 100_001, "100,001 characters")):
        path.write_bytes(data)
        with pytest.raises(BadInput, match=message):
            read_prompt(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_prompt(tmp_path / "none.txt")


def test_a_decoder_of_one_side_is_left_alone(aligned: LocalEngine, reference: LocalEngine) -> None:
    """The aligned engine's own decoder, and its memory, are not those of the peers."""
    engine = peer("interpolation", aligned, reference, strength=0.5)
    assert type(aligned.decoder) is Decoder
    memories = [d.kept for d in (aligned.decoder, reference.decoder, engine.decoder, engine.decoder.other)]
    assert len({id(layer) for kept in memories for layer in kept}) == sum(map(len, memories))
    assert engine.model is aligned.model
    assert aligned.decoder.kernel is None
