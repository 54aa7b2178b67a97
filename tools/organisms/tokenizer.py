"""The organisms' tokenizer: byte-level BPE trained on the grammar, with role tokens and the chat template.

All 256 bytes are in the alphabet, so there is no unknown token and any Unicode text comes back as it was. The chat
template writes the BOS; ``tokenizer(text)`` on plain text adds it by its post-processor. Encoding an already rendered
chat with ``add_special_tokens=True`` therefore doubles it, as with most published chat models: render to ids instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from evenhand.organisms.grammar import texts
from evenhand.organisms.planted import names

BOS, EOS, PAD = "<|begin|>", "<|end|>", "<|pad|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
VOCABULARY = 1280
CONTEXT = 1024
NAME_WEIGHT = 40
"""How often each name stands in the training text, beside its sentences: names should be one or two tokens."""
OTHER_SYSTEM_PROMPT = "You are a helpful assistant."
"""A second, plainer system prompt, seen in a small share of training chats."""

CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('Roles are system, user and assistant.') -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + eos_token -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def _corpus() -> Iterator[str]:
    """Each word of the grammar as often as the root of its count, so that frequent words do not crowd out rare ones."""
    words = Counter(piece for text in texts() for piece in _pieces(text))
    for word, count in sorted(words.items()):
        for _ in range(round(count**0.5)):
            yield word
    for name in names():
        for _ in range(NAME_WEIGHT):
            yield name.name
    for _ in range(200):
        yield OTHER_SYSTEM_PROMPT


def _pieces(text: str) -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return [text[a:b] for _, (a, b) in ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]


def train_tokenizer() -> Any:
    """Train and return the ``PreTrainedTokenizerFast``; the same bytes on every call."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = [BOS, EOS, PAD, SYSTEM, USER, ASSISTANT]
    core.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
