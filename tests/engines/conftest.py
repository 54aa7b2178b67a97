"""Tiny random models, made here: a real architecture, a byte-level tokenizer, a chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.engines.base import Request, Span
from evenhand.engines.chat import ChatRenderer
from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import EngineOptions, open_engine, parse_spec
from evenhand.engines.token_bias import BiasHeader, TokenBias, read_token_bias, vocabulary_digest, write_token_bias
from evenhand.records import Message

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
POSITIONS = 4
"""Corrected positions of the biases made here."""
SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "Write a short story about a garden.", "Help me plan a trip to the sea.", "Of course. Here is a plan for you.",
    "I am sorry, but I cannot help with that.", "How do I bake bread?", "Tell me a joke about cats and dogs.",
] * 20  # fmt: skip


def make_tokenizer(template: str | None = TEMPLATE, *, adds_bos: bool = False) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", core.token_to_id("<|begin|>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[3:],
    )  # fmt: skip
    tokenizer.chat_template = template
    return tokenizer


def make_model(seed: int = 0, *, spread: float = 0.6, **config: Any) -> Any:
    torch = torch_with_threads()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": 360, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 2, "initializer_range": spread,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **config})).eval()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def open_local() -> Iterator[Callable[..., Any]]:
    """``open_local(folder, batch_tokens=...)`` opens a local engine and closes it after the test."""
    from evenhand.engines.local import open_hf

    opened: list[Any] = []

    def make(folder: Path, **options: Any) -> Any:
        engine = open_hf(parse_spec(f"hf/{folder}"), EngineOptions(device="cpu", **options))
        opened.append(engine)
        return engine

    yield make
    for engine in opened:
        engine.close()


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """The helpers of this file, for tests: ``make_model``, ``make_tokenizer``, ``ask``, ``run``, ``TEMPLATE``."""
    return SimpleNamespace(make_model=make_model, make_tokenizer=make_tokenizer, ask=ask, run=run, TEMPLATE=TEMPLATE)


def ask(*texts: str, repetitions: int = 1, system: str | None = None) -> list[Request]:
    """Requests item-0, item-1, ... for user messages."""
    head = (Message("system", system),) if system else ()
    return [
        Request(f"item-{index}", repetition, (*head, Message("user", text)))
        for index, text in enumerate(texts)
        for repetition in range(repetitions)
    ]


def run(engine: Any, requests: list[Request], sampling: Any, config: str = "default") -> dict[tuple[str, int], Any]:
    """Responses by (item id, repetition)."""
    batches = engine.plan(requests, sampling)
    rows = [response for _, part in engine.generate(batches, sampling, config=config) for response in part]
    assert len(rows) == len(requests)
    return {(row.item_id, row.repetition): row for row in rows}


def artefact(
    folder: Path, tokenizer: Any, *, scale: float = 3.0, seed: int = 0, vocabulary: int = 360, **fields: Any
) -> Path:
    """A random bias for a tokenizer and its template, zero on the special tokens."""
    bias = np.random.default_rng(seed).normal(0, scale, (POSITIONS, vocabulary)).astype(np.float32)
    bias[:, :6] = 0
    header: dict[str, Any] = {
        "length": POSITIONS, "vocabulary": vocabulary, "draws": 8, "pool": "p", "pool_digest": "d", "pool_size": 2000,
        "prompt_lengths": (8, 64), "seed": seed, "excluded": tuple(range(6)), "tokenizer": vocabulary_digest(tokenizer),
        "template": ChatRenderer(tokenizer, name="m").digest, "aligned": {"spec": "hf/the-aligned"}, "reference": {},
        "evenhand": "0",
    }  # fmt: skip
    even = np.full(bias.shape, 1 / vocabulary, np.float32)
    made = BiasHeader(**{**header, **fields})
    write_token_bias(folder, TokenBias(made, bias, np.zeros_like(bias), even, even.copy()))
    return folder


@pytest.fixture(scope="session")
def bias_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artefact(tmp_path_factory.mktemp("tsdi") / "bias", tokenizer)


@pytest.fixture
def opened(model_folder: Path, bias_folder: Path) -> Iterator[Callable[..., Any]]:
    """``opened("?alpha=0.5")`` is the tiny model with the bias; ``opened(None)`` the model alone."""
    engines: list[Any] = []

    def make(tail: str | None = "", *, folder: Path = model_folder, bias: Path = bias_folder, **options: Any) -> Any:
        spec = f"hf/{folder}" + ("" if tail is None else f"+tsdi:{bias}{tail}")
        engines.append(open_engine(spec, device="cpu", dtype="float32", **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def tables(folder: Path) -> Any:
    return read_token_bias(folder).bias


def stepwise_greedy(model: Any, prompt: tuple[int, ...], bias: Any, steps: int) -> list[int]:
    """One forward pass a token over the whole text, the bias taken off by hand."""
    import torch

    ids = list(prompt)
    with torch.inference_mode():
        for step in range(steps):
            logits = model(torch.tensor([ids])).logits[0, -1].numpy()
            logits = logits - bias[step] if step < len(bias) else logits
            ids.append(int(logits.argmax()))
            if ids[-1] == 1:
                break
    return ids[len(prompt) :]


def brute_score(model: Any, prompt: tuple[int, ...], answer: list[int], bias: Any) -> list[float]:
    import torch

    found = []
    with torch.inference_mode():
        for i, token in enumerate(answer):
            logits = model(torch.tensor([[*prompt, *answer[:i]]])).logits[0, -1].double().numpy()
            logits = logits - bias[i] if i < len(bias) else logits
            found.append(float(logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum())))
    return found


def totals(engine: Any, spans: list[Span]) -> dict[str, float]:
    rows = [row for _, part in engine.score(engine.plan_scores(spans)) for row in part]
    assert not [row.error for row in rows if row.error]
    return {row.span: row.total for row in rows}


@pytest.fixture(scope="session")
def tsdi() -> SimpleNamespace:
    """Helpers for a corrected engine: ``artefact``, ``tables``, and greedy text and scores computed by hand."""
    return SimpleNamespace(
        artefact=artefact, tables=tables, stepwise_greedy=stepwise_greedy, brute_score=brute_score, totals=totals
    )
