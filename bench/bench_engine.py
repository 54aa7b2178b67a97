"""Claim: the local engine generates at least 1.3 times as fast as plain ``transformers.generate``, with the same text.

Both run the same model object, on the same prompts, greedily, with the same most tokens, in the same process. The peer
takes the prompts in arrival order, in batches of 32 padded on the left. Five runs, interleaved; every ratio is printed.

    python bench/bench_engine.py [--quick] [--model SPEC]

The model is ``organism/aligned`` where it has been built, else a random Llama of a million parameters (which seldom
ends a response early, so that neither side gains from short ones).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from evenhand.datasets.shipped import NamesAndStems
from evenhand.engines.base import Request, Sampling
from evenhand.engines.spec import open_engine
from evenhand.errors import BadInput
from evenhand.records import Message

TARGET = 1.3
PEER_BATCH = 32


def chats(count: int) -> list[tuple[Message, ...]]:
    """The first chats of the shipped names x stems, in the order of the audit's own table."""
    return [item.chat for item in NamesAndStems().items()[:count]]


def random_llama(folder: Path) -> None:
    """A Llama of a million parameters with a byte-level tokenizer, saved in ``folder``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"]
    core.train_from_iterator(
        [message.content for chat in chats(500) for message in chat],
        trainers.BpeTrainer(
            vocab_size=1024,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=special[0], eos_token=special[1], pad_token=special[2]
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=1024, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        initializer_range=0.1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def open_model(spec: str | None, scratch: Path) -> Any:
    """The engine to measure."""
    if spec is not None:
        return open_engine(spec)
    try:
        return open_engine("organism/aligned")
    except BadInput:
        random_llama(scratch)
        return open_engine(f"hf/{scratch}")


def ours(engine: Any, requests: list[Request], sampling: Sampling) -> tuple[list[str], int]:
    """Texts in request order, and the tokens drawn."""
    rows = {
        row.item_id: row
        for _, part in engine.generate(engine.plan(requests, sampling), sampling, config="bench")
        for row in part
    }
    found = [rows[request.item_id] for request in requests]
    return [row.text for row in found], sum(row.completion_tokens or 0 for row in found)


def peer(engine: Any, requests: list[Request], sampling: Sampling) -> list[str]:
    """The same through ``transformers.generate``, in arrival order."""
    import torch

    model, tokenizer, texts = engine.decoder.model, engine.tokenizer, []
    for low in range(0, len(requests), PEER_BATCH):
        messages = [
            [{"role": m.role, "content": m.content} for m in request.chat]
            for request in requests[low : low + PEER_BATCH]
        ]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            out = model.generate(
                input_ids=inputs["input_ids"].to(model.device),
                attention_mask=inputs["attention_mask"].to(model.device),
                max_new_tokens=sampling.max_tokens,
                do_sample=False,
                eos_token_id=sorted(engine.decoder.end_ids),
                pad_token_id=engine.decoder.pad_id,
            )
        answers = out[:, inputs["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(answers, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few prompts and two runs, to see that it works")
    parser.add_argument("--model", help="spec of the model (default: organism/aligned, else a random one)")
    parser.add_argument("--max-tokens", type=int, default=48)
    arguments = parser.parse_args()
    count, runs = (200, 2) if arguments.quick else (2000, 5)
    sampling = Sampling(temperature=0, max_tokens=arguments.max_tokens)
    requests = [Request(f"{n:05d}", 0, chat) for n, chat in enumerate(chats(count))]
    with tempfile.TemporaryDirectory() as scratch:
        engine = open_model(arguments.model, Path(scratch))
        warm = requests[:PEER_BATCH]
        if ours(engine, warm, sampling)[0] != peer(engine, warm, sampling):
            raise SystemExit("the texts differ: nothing to compare")
        name = "a random Llama of 1M parameters" if engine.spec.startswith(f"hf/{scratch}") else engine.spec
        print(f"{name}, {count} prompts, greedy, at most {sampling.max_tokens} tokens, {engine.device} {engine.dtype}")
        ratios = []
        for run in range(runs):
            engine.renderer.forget()
            start = time.perf_counter()
            mine, tokens = ours(engine, requests, sampling)
            middle = time.perf_counter()
            theirs = peer(engine, requests, sampling)
            end = time.perf_counter()
            differing = sum(a != b for a, b in zip(mine, theirs, strict=True))
            if differing:
                raise SystemExit(f"{differing} of {count} texts differ")
            own, other = middle - start, end - middle
            ratios.append(other / own)
            print(
                f"run {run + 1}: evenhand {own:6.2f} s ({tokens / own:7.0f} tokens/s), transformers {other:6.2f} s, "
                f"ratio {ratios[-1]:.2f}, same text"
            )
    print(f"median ratio {statistics.median(ratios):.2f} (target at least {TARGET})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
