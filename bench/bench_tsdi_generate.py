"""Claim: decoding with the TSDI correction is at most 2 % slower than without, at batch 32.

Both ways that Evenhand decodes: ``generate`` of transformers with `TsdiProcessor`, and the local engine on ``+tsdi:DIR``, each
against itself without the correction. A random Llama of 58 million parameters with 32,000 tokens in float32 on one thread, 32
prompts, 10 corrected positions. Runs with and without alternate, the first of a pair changing; the median of the pairs' ratios
counts, in processor time (on a GPU: by the clock), so that other load does not. The processor's own share is printed beside it.
Where there is a CUDA device (--gpu insists on it), transformers on a random Llama of 8 billion parameters in bf16 with 128,256
tokens as well.

    python bench/bench_tsdi_generate.py [--quick] [--gpu] [--max-tokens N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from bench_tsdi_estimate import LARGE, SMALL, random_llama
from evenhand.bridges.transformers_processor import TsdiProcessor
from evenhand.engines.base import Request, Sampling
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.spec import open_engine
from evenhand.engines.token_bias import BiasHeader, TokenBias, vocabulary_digest, write_token_bias
from evenhand.records import Message

TARGET = 1.02
ROWS, LENGTH = 32, 10
QUESTION = "How do I bake {} loaves of bread at home when the oven is small?"


def made_up_bias(vocabulary: int, tokenizer: str = "bench", template: str = "bench") -> TokenBias:
    """A dense bias of standard deviation 0.1 nats: it costs what a real one costs, and leaves the text nearly as it is."""
    draw = np.random.default_rng(0)
    shape = (LENGTH, vocabulary)
    header = BiasHeader(
        length=LENGTH, vocabulary=vocabulary, draws=2, pool="bench", pool_digest="bench", pool_size=1000,
        prompt_lengths=(8, 64), seed=0, tokenizer=tokenizer, template=template, aligned={}, reference={}, evenhand="bench",
    )  # fmt: skip
    even = np.full(shape, 1 / vocabulary, dtype=np.float32)
    return TokenBias(header, draw.normal(0, 0.1, shape).astype(np.float32), np.ones_like(even), even, even)


def byte_tokenizer(vocabulary: int) -> Any:
    """A byte-level tokenizer with as many tokens as the model; most are never made from text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*special, *letters]
    tokens += [f"filler{n:06d}" for n in range(vocabulary - len(tokens))]
    core = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=special[0], eos_token=special[1], pad_token=special[2]
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return tokenizer


class Timed(TsdiProcessor):
    """The processor, with a clock around it."""

    seconds = 0.0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        began = time.process_time()
        found = super().__call__(input_ids, scores)
        self.seconds += time.process_time() - began
        return found


def transformers_run(model: Any, width: int, max_tokens: int) -> tuple[Callable[[bool], float], Callable[[], float]]:
    """A function that runs ``generate`` once and returns tokens a second, and one that tells the processor's share of it."""
    import torch

    device = model.device
    ids = torch.randint(16, model.config.vocab_size, (ROWS, width), device=device)
    kernel = BiasKernel(made_up_bias(model.config.vocab_size))

    def drawn(processors: list[Any]) -> float:
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        began = clock()
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False,
                eos_token_id=None, pad_token_id=2, logits_processor=processors,
            )  # fmt: skip
        if device.type == "cuda":
            torch.cuda.synchronize()
        return int(out.shape[1] - width) * ROWS / (clock() - began)

    def share() -> float:
        timed = Timed(kernel, start=width)
        speed = drawn([timed])
        return timed.seconds * speed / (ROWS * max_tokens)

    return lambda corrected: drawn([TsdiProcessor(kernel, start=width)] if corrected else []), share


def engine_run(folder: Path, max_tokens: int) -> Callable[[bool], float]:
    """A function that runs the local engine once, with or without the bias, and returns tokens a second."""
    plain = open_engine(f"hf/{folder}")
    bias = made_up_bias(SMALL.vocabulary, vocabulary_digest(plain.tokenizer), plain.renderer.digest)
    write_token_bias(folder / "bias", bias)
    corrected = open_engine(f"hf/{folder}+tsdi:{folder / 'bias'}")
    corrected._model = plain.model  # one set of weights for both
    requests = [Request(f"{n:03d}", 0, (Message("user", QUESTION.format(n)),)) for n in range(ROWS)]
    sampling = Sampling(temperature=0, max_tokens=max_tokens)

    def drawn(with_bias: bool) -> float:
        engine = corrected if with_bias else plain
        engine.renderer.forget()
        began = time.process_time()
        rows = [
            row
            for _, part in engine.generate(engine.plan(requests, sampling), sampling, config="bench")
            for row in part
        ]
        return sum(row.completion_tokens or 0 for row in rows) / (time.process_time() - began)

    return drawn


def compare(name: str, drawn: Callable[[bool], float], runs: int) -> bool:
    """Alternate both; prints every pair and the median ratio. Returns whether the target is met."""
    for corrected in (True, False):  # warm
        drawn(corrected)
    ratios = []
    for turn in range(runs):
        speed = {}
        for corrected in (True, False) if turn % 2 else (False, True):
            speed[corrected] = drawn(corrected)
        ratios.append(speed[False] / speed[True])
        print(
            f"  run {turn + 1}: with {speed[True]:8.1f} tokens/s, without {speed[False]:8.1f}, ratio {ratios[-1]:.3f}"
        )
    ratio = statistics.median(ratios)
    print(f"  {name}: median ratio of the time {ratio:.3f} (target at most {TARGET})")
    return ratio <= TARGET


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tokens and two runs, to see that it works")
    parser.add_argument("--gpu", action="store_true", help="fail where there is no CUDA device")
    parser.add_argument("--max-tokens", type=int, default=48)
    arguments = parser.parse_args()
    import torch
    from transformers.utils.logging import disable_progress_bar

    warnings.simplefilter("ignore")
    disable_progress_bar()
    torch.set_num_threads(1)
    if arguments.gpu and not torch.cuda.is_available():
        raise SystemExit("--gpu: there is no CUDA device")
    runs, tokens = (2, 12) if arguments.quick else (5, arguments.max_tokens)
    model = random_llama(SMALL, 0)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(
        f"a random Llama of {millions:.0f}M parameters, {SMALL.vocabulary:,} tokens, float32, one thread, {ROWS} rows, greedy, "
        f"{tokens} tokens each, {LENGTH} corrected"
    )
    drawn, share = transformers_run(model, 40, tokens)
    good = compare("transformers", drawn, runs)
    print(f"  the processor's own share: {share():.2%}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save_pretrained(folder)
        byte_tokenizer(SMALL.vocabulary).save_pretrained(folder)
        good &= compare("local engine", engine_run(folder, tokens), runs)
    if torch.cuda.is_available():
        del model
        print(f"{torch.cuda.get_device_name()}: a random Llama of 8B parameters, {LARGE.vocabulary:,} tokens, bf16")
        drawn, _ = transformers_run(random_llama(LARGE, 0, cuda=True), 40, tokens)
        good &= compare("transformers", drawn, runs)
    else:
        print("no CUDA device: the part on 8 billion parameters is left out")
    print("target met" if good else "TARGET MISSED")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
