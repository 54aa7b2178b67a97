"""Tiny random models with a tokenizer made here, sources of planted shifts, and contexts for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from xxhash import xxh128_intdigest

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "Write a short story about a garden.", "Help me plan a trip to the sea.", "Of course. Here is a plan for you.",
    "Sorry, I cannot help with that. No. Unfortunately I am unable.", "How do I bake bread?", "Tell me about cats and dogs.",
] * 20  # fmt: skip
VOCABULARY = 320


def make_tokenizer(
    template: str | None = TEMPLATE, *, adds_bos: bool = False, corpus: Sequence[str] = (), added: Sequence[str] = ()
) -> Any:
    """A byte-level tokenizer of at most 320 tokens; ``added`` are further special tokens behind them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(list(corpus) or CORPUS, trainer)
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", core.token_to_id("<|begin|>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[3:],
    )  # fmt: skip
    if added:
        tokenizer.add_tokens(list(added), special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def make_model(seed: int = 0, **config: Any) -> Any:
    """A random Llama of two layers."""
    from evenhand.engines.machine import torch_with_threads

    torch = torch_with_threads()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 160, "bos_token_id": 0,
        "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.4,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **config})).eval()


def save(folder: Path, model: Any, tokenizer: Any) -> Path:
    """Write a model folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def nudged(model: Any, seed: int = 5, size: float = 0.05) -> Any:
    """A copy with small random changes: what a tuning might have made of it."""
    import copy

    import torch

    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return other


class Source:
    """Logits by a function of (context so far, position), ``[width]``; notes every context it was asked for."""

    def __init__(self, name: str, logits: Callable[[Any, int], Any]):
        self.name, self.logits = name, logits
        self.seen: list[bytes] = []

    def rows(self, contexts: Sequence[Any], length: int) -> Any:
        """Logits of the last ``length`` positions."""
        import torch

        self.seen += [np.asarray(ids).tobytes() for ids in contexts]
        out = [
            [self.logits(ids[: len(ids) - length + 1 + row], row) for row in range(length)]
            for ids in map(np.asarray, contexts)
        ]
        return torch.from_numpy(np.asarray(out))

    def sample(self, contexts: Sequence[Any], uniform: Any, allowed: Any) -> Any:
        """Tokens by the model's own rule."""
        from evenhand.methods.tsdi.estimate.models import drawn

        found = np.zeros(uniform.shape, dtype=np.int64)
        for step in range(uniform.shape[1]):
            so_far = [np.concatenate([ids, found[row, :step]]) for row, ids in enumerate(contexts)]
            found[:, step] = drawn(self.rows(so_far, 1)[:, -1], uniform[:, step], allowed)
        return found


def noise(context: Any, what: str, width: int, spread: float = 1.0) -> Any:
    """Normal numbers that the context decides."""
    key = xxh128_intdigest(np.asarray(context, dtype=np.int64).tobytes() + what.encode())
    return spread * np.random.Generator(np.random.Philox(key=key)).standard_normal(width)


def make_contexts(length: int, *, seed: int = 0, width: int = 300, lengths: tuple[int, int] = (3, 6)) -> Any:
    """Contexts over ids 10 to ``width`` in a frame of two tokens and one."""
    from evenhand.methods.tsdi.estimate.contexts import Contexts, Frame, TokenPool

    pool = TokenPool("test", np.arange(10, width, dtype=np.int32))
    return Contexts(pool, Frame((0, 4), (5,)), seed, lengths, length)


def make_space(width: int, excluded: Sequence[int] = (), valid: Sequence[int] | None = None) -> Any:
    """A space of ``width`` ids."""
    from evenhand.methods.tsdi.estimate.tokens import TokenSpace

    return TokenSpace(
        width, np.asarray(range(width) if valid is None else valid, dtype=np.int64), tuple(excluded), "0" * 32
    )


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """The helpers of this file."""
    return SimpleNamespace(
        make_tokenizer=make_tokenizer, make_model=make_model, save=save, nudged=nudged, Source=Source, noise=noise,
        make_contexts=make_contexts, make_space=make_space, TEMPLATE=TEMPLATE, CORPUS=CORPUS, VOCABULARY=VOCABULARY,
    )  # fmt: skip


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Folders of a tiny reference and a tuned copy of it, and a pool file of plain text."""
    root = tmp_path_factory.mktemp("pair")
    tokenizer, model = make_tokenizer(), make_model()
    pool = root / "pool.txt"
    pool.write_text("\n".join(CORPUS), encoding="utf-8")
    return SimpleNamespace(
        reference=save(root / "reference", model, tokenizer),
        aligned=save(root / "aligned", nudged(model), tokenizer),
        pool=pool, root=root, tokenizer=tokenizer,
    )  # fmt: skip


@pytest.fixture
def config(pair: SimpleNamespace) -> Callable[..., Any]:
    """``config(draws=64, ...)``: settings of a small estimate of the pair."""
    from evenhand.config import checked
    from evenhand.methods.tsdi.config import TsdiConfig

    def make(**changes: Any) -> Any:
        settings = {
            "model": f"hf/{pair.aligned}", "reference": f"hf/{pair.reference}", "pool": str(pair.pool), "draws": 48,
            "fixed": True, "length": 3, "prompt_lengths": (4, 12), "batch": 8, "device": "cpu",
        }  # fmt: skip
        return checked(TsdiConfig, **{**settings, **changes})

    return make
