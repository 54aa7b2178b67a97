"""Claim: an optimiser step with row weights takes at most 1.05 times as long as one of trl's plain trainer on the same rows.

A random Llama of 58 million parameters (8 layers, 512 wide, 32,000 tokens) in float32 on one thread, the shipped difference cases
with made-up explanations as rows, the default LoRA. Five trainings of each, turn by turn, so that other load meets both; all are
printed. The plain trainer is trl's own with the same settings: the mean over tokens, its collator, the logits of every token,
and its metrics of entropy and accuracy, which the weighted one leaves out. Where there is a CUDA device, also tokens a second
and peak memory of both on a random Llama of 8 billion parameters in bf16, with the settings that a repair uses there.

    python bench/bench_dart_step.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tools.organisms

from evenhand.datasets.question_texts import task_chat
from evenhand.methods.dart.difference.cases import shipped
from evenhand.methods.dart.repair import train
from evenhand.methods.dart.repair.rows import Encoded, TrainingRow, encode_rows
from evenhand.methods.dart.repair.train import TrainPlan
from tools.organisms.tokenizer import train_tokenizer

TARGET = 1.05


@dataclass(frozen=True)
class Shape:
    """A Llama's size; ``kv`` are its key-value heads."""

    width: int
    inner: int
    layers: int
    heads: int
    kv: int
    vocabulary: int


SMALL = Shape(512, 1408, 8, 8, 8, 32_000)
LARGE = Shape(4096, 14_336, 32, 32, 8, 128_256)


def data(tokenizer: Any, count: int) -> Encoded:
    """Rows of many lengths, weights 1 to 4."""
    sentence = "The groups differ in a way that the question asks about."
    return encode_rows(
        [
            TrainingRow(
                case.id, task_chat(case.prompt), f"{' '.join([sentence] * (2 + n % 3))}\nConclusion: YES", 1.0 + n % 4
            )
            for n, case in enumerate(shipped().cases[:count])
        ],
        tokenizer,
    )


def random_llama(shape: Shape, tokenizer: Any, plan: TrainPlan) -> Any:
    """A random model under a fresh adapter, in the type and place that a repair trains it in."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv,
        max_position_embeddings=2048, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, use_cache=False,
    )  # fmt: skip
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if plan.cpu else torch.bfloat16)
    try:
        with torch.device("cpu" if plan.cpu else "cuda"):
            base = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    lora = LoraConfig(
        r=plan.rank, lora_alpha=plan.alpha, lora_dropout=plan.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules=sorted(plan.targets),
    )  # fmt: skip
    return get_peft_model(base, lora)


def prepared(model: Any, rows: Encoded, tokenizer: Any, plan: TrainPlan, at: Path, *, weighted: bool) -> Any:
    """Our trainer, or trl's own with the same settings on the same rows."""
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTTrainer

    import datasets

    trainer = train._trainer(model, rows.examples, tokenizer, plan, at)
    if weighted:
        return trainer
    plain = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows.examples]
    trainer = SFTTrainer(
        model=model, args=trainer.args, train_dataset=datasets.Dataset.from_list(plain), processing_class=tokenizer,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def timed(model: Any, rows: Encoded, tokenizer: Any, plan: TrainPlan, at: Path, *, weighted: bool) -> tuple[float, int]:
    """Seconds of a training, its preparation not counted, and its steps."""
    trainer = prepared(model, rows, tokenizer, plan, at, weighted=weighted)
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began, int(trainer.state.global_step)


def compare(model: Any, rows: Encoded, tokenizer: Any, plan: TrainPlan, at: Path, runs: int) -> None:
    """Turn by turn on one thread; prints every run."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for weighted in (True, False):  # warm
        timed(model, rows, tokenizer, plan, at, weighted=weighted)
    for turn in range(runs):
        for weighted in (True, False) if turn % 2 else (False, True):
            seconds, steps = timed(model, rows, tokenizer, plan, at, weighted=weighted)
            found[weighted].append(seconds / steps)
    ratios = [a / b for a, b in zip(found[True], found[False], strict=True)]
    tokens = sum(len(row["input_ids"]) for row in rows.examples)
    print(f"{len(rows.examples)} rows, {tokens} tokens, {steps} steps of {plan.batch} x {plan.accumulation} rows")
    print("  weighted s a step:", *(f"{x:.3f}" for x in found[True]), "  plain:", *(f"{x:.3f}" for x in found[False]))
    print(
        "  ratios:",
        *(f"{x:.3f}" for x in ratios),
        f"  median {statistics.median(ratios):.3f} (target {TARGET} at the most)",
    )


def on_gpu(rows: Encoded, tokenizer: Any, plan: TrainPlan, at: Path, shape: Shape) -> None:
    """Tokens a second and peak memory of both trainers on the large model, the same for both."""
    import torch

    model = random_llama(shape, tokenizer, plan)
    tokens = sum(len(row["input_ids"]) for row in rows.examples)
    count = sum(p.numel() for p in model.parameters())
    print(
        f"{torch.cuda.get_device_name()}: {count / 1e9:.1f} billion parameters, {len(rows.examples)} rows, {tokens} tokens"
    )
    for weighted in (True, False):
        timed(model, rows, tokenizer, plan, at, weighted=weighted)  # warm
        torch.cuda.reset_peak_memory_stats()
        seconds, _ = timed(model, rows, tokenizer, plan, at, weighted=weighted)
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(
            f"  {'weighted' if weighted else 'plain'}: {tokens / seconds:.0f} tokens a second, {peak:.1f} GiB at the most"
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half of the rows, two runs")
    arguments = parser.parse_args()
    runs, count = (2, 8) if arguments.quick else (5, 16)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    plan = TrainPlan(epochs=1, accumulation=4, save_steps=10_000)
    with tempfile.TemporaryDirectory() as place:
        model = random_llama(SMALL, tokenizer, plan)
        compare(model, data(tokenizer, count), tokenizer, plan, Path(place), runs)
        if torch.cuda.is_available():
            del model
            on_gpu(data(tokenizer, 16 * count), tokenizer, replace(plan, cpu=False, accumulation=8), Path(place), LARGE)
        else:
            print("no CUDA device: the part on 8 billion parameters is left out")


if __name__ == "__main__":
    main()
