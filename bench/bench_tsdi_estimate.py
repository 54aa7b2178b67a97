"""Claim: a TSDI estimate takes at most 1.15 times as long as the bare forward passes of its models, in memory free of N.

Two random Llamas of 58 million parameters with 32,000 tokens in float32 on one thread; contexts of 8 to 64 random tokens, 10
positions. Both sides see the same batches through the same code, and the bare one throws the logits away. They take turns batch by
batch, in processor time (on a GPU: by the clock), so that other load is not counted. Memory is the peak resident set of a fresh
process for each N, with models so small that the tables count. Where there is a CUDA device (--gpu insists on it), the same on
random Llamas of 8 billion parameters in bf16 with 128,256 tokens.

    python bench/bench_tsdi_estimate.py [--quick] [--gpu]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from evenhand.methods.tsdi.estimate.contexts import Contexts, Frame, TokenPool
from evenhand.methods.tsdi.estimate.estimator import EstimateSettings, estimate
from evenhand.methods.tsdi.estimate.models import ModelRows
from evenhand.methods.tsdi.estimate.tokens import TokenSpace

TARGET = 1.15
MOST_GROWTH_MIB = 64
LENGTH, BATCH, SPECIAL = 10, 32, 16


@dataclass(frozen=True)
class Shape:
    """A Llama's size; ``kv`` are its key-value heads."""

    width: int
    inner: int
    layers: int
    heads: int
    kv: int
    vocabulary: int


TINY = Shape(64, 128, 1, 2, 2, 32_000)
SMALL = Shape(512, 1408, 8, 8, 8, 32_000)
LARGE = Shape(4096, 14_336, 32, 32, 8, 128_256)


def random_llama(shape: Shape, seed: int, *, cuda: bool = False) -> Any:
    """A random model: float32 on the CPU, bfloat16 on a CUDA device."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv,
        max_position_embeddings=1024, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
    try:
        with torch.device("cuda" if cuda else "cpu"):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(usual)


class Watched:
    """A model that remembers the last batch it was asked about."""

    def __init__(self, model: Any, name: str):
        self.inner: Any = ModelRows(SimpleNamespace(spec=name, model=model, _inside=nullcontext))  # type: ignore[arg-type]
        self.name, self.sample = name, self.inner.sample
        self.last: Any = None

    def rows(self, contexts: Any, length: int) -> Any:
        """Logits, as the estimate asks for them."""
        self.last = contexts
        return self.inner.rows(contexts, length)


class Turns:
    """Between two batches of the estimate, the bare passes of both models on the batch that was just done."""

    def __init__(self, models: list[Watched], *, cuda: bool):
        self.models, self.cuda = models, cuda
        self.estimate = self.bare = 0.0
        self.mark = self.now()

    def now(self) -> float:
        """Seconds of this process, or by the clock once the GPU has done what it was told."""
        if not self.cuda:
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self, what: str, done: int, total: int) -> None:
        """The estimate's progress: called before each batch and after the last."""
        stopped = self.now()
        self.estimate += stopped - self.mark
        if done:
            for model in self.models:
                model.inner.rows(model.last, LENGTH)
            self.bare += self.now() - stopped
        self.mark = self.now()

    def end(self) -> None:
        """Count what the estimate does after its last batch."""
        self.estimate += self.now() - self.mark


def pieces(shape: Shape) -> tuple[Contexts, TokenSpace]:
    """Contexts between made-up template ids, over every ordinary token."""
    ids = np.arange(shape.vocabulary, dtype=np.int64)
    pool = TokenPool("uniform", ids[SPECIAL:].astype(np.int32))
    contexts = Contexts(pool, Frame((0, 3, 4), (5, 6)), 0, (8, 64), LENGTH)
    return contexts, TokenSpace(shape.vocabulary, ids, tuple(range(SPECIAL)), "bench")


def settings(draws: int) -> EstimateSettings:
    """Exactly ``draws`` contexts."""
    return EstimateSettings(draws=draws, target_error=None, batch=BATCH)


def compare(shape: Shape, batches: int, runs: int, *, cuda: bool) -> float:
    """Time of the estimate over the bare passes, turn by turn; prints every run and returns the median ratio."""
    device = "cuda" if cuda else "cpu"
    models = [Watched(random_llama(shape, seed, cuda=cuda), f"random-{seed}") for seed in (0, 1)]
    contexts, space = pieces(shape)
    draws = batches * BATCH
    tokens = 2 * contexts.tokens(draws)
    estimate(*models, contexts, space, settings(BATCH), device=device)  # warm
    ratios = []
    for run in range(runs):
        turns = Turns(models, cuda=cuda)
        estimate(*models, contexts, space, settings(draws), device=device, progress=turns)
        turns.end()
        ratios.append(turns.estimate / turns.bare)
        print(
            f"  run {run + 1}: estimate {tokens / turns.estimate:9.0f} tokens/s, bare passes {tokens / turns.bare:9.0f} tokens/s, "
            f"ratio {ratios[-1]:.3f}"
        )
    ratio = statistics.median(ratios)
    print(f"  median ratio {ratio:.3f} (target at most {TARGET})")
    if cuda:
        peak_on_device(models, contexts, space)
    return ratio


def peak_on_device(models: list[Watched], contexts: Contexts, space: TokenSpace) -> None:
    """Peak memory of the device against N."""
    import torch

    for draws in (128, 256, 512, 1024):
        torch.cuda.reset_peak_memory_stats()
        estimate(*models, contexts, space, settings(draws), device="cuda")
        print(f"  N = {draws:5}: peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the device")


def one_process(draws: int) -> None:
    """The estimate of ``draws`` contexts with tiny models; prints this process's peak resident set in KiB."""
    models = [Watched(random_llama(TINY, seed), f"random-{seed}") for seed in (0, 1)]
    estimate(*models, *pieces(TINY), settings(draws))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def memory(sizes: tuple[int, ...]) -> bool:
    """Peak memory against N, each in a fresh process. Returns whether it stays where it is."""
    found = []
    for draws in sizes:
        out = subprocess.run(
            [sys.executable, __file__, "--one-process", str(draws)], check=True, capture_output=True, text=True
        ).stdout
        found.append(int(out) / 1024)
        print(f"  N = {draws:5}: peak {found[-1]:7.1f} MiB")
    grown = found[-1] - found[0]
    print(f"  from N = {sizes[0]} to {sizes[-1]}: {grown:+.1f} MiB (target at most {MOST_GROWTH_MIB})")
    return grown <= MOST_GROWTH_MIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one batch and two runs, to see that it works")
    parser.add_argument("--gpu", action="store_true", help="fail where there is no CUDA device")
    parser.add_argument("--one-process", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if arguments.one_process:
        one_process(arguments.one_process)
        return 0
    if arguments.gpu and not torch.cuda.is_available():
        raise SystemExit("--gpu: there is no CUDA device")
    print(f"two random Llamas of 58M parameters, {SMALL.vocabulary:,} tokens, float32, one thread, batches of {BATCH}")
    good = compare(SMALL, 1 if arguments.quick else 2, 2 if arguments.quick else 5, cuda=False) <= TARGET
    print("peak resident memory, models of 4M parameters")
    good &= memory((128, 256) if arguments.quick else (128, 256, 512, 1024))
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}: two random Llamas of 8B parameters, {LARGE.vocabulary:,} tokens, bf16")
        good &= compare(LARGE, 2 if arguments.quick else 8, 3, cuda=True) <= TARGET
    else:
        print("no CUDA device: the part on 8 billion parameters is left out")
    print("target met" if good else "TARGET MISSED")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
