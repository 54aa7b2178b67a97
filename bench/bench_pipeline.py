"""The pipeline's own time beside the bare engine's: the same prompts generated alone, then as a whole audit.

Prints, for interleaved runs, the seconds of the bare engine, of the whole audit, and the share that the pipeline adds
(items, journal, grading, statistics, tables, report). An organism of one million parameters is the hardest case: the pipeline
does the same work for a model of any size. So a random Llama of 85 million parameters follows, on fewer prompts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from evenhand.config import AuditConfig, make_config
from evenhand.datasets.shipped import NamesAndStems
from evenhand.methods.service.items import keep_whole_stems
from evenhand.organisms import organism_folder
from evenhand.report.build import build_report
from evenhand.runs.lifecycle import open_configurations
from evenhand.runs.respond import requests_for, run_sampling
from evenhand.runs.runner import run_audits


def bare(config: AuditConfig) -> float:
    """Seconds to open the model and generate every response, and nothing else."""
    began = time.perf_counter()
    (configuration,) = open_configurations(config, None)
    items = keep_whole_stems(NamesAndStems().items(), config.limit)
    requests = requests_for(configuration, items, config.draws_per_item)
    sampling = run_sampling(config)
    count = 0
    for _, rows in configuration.engine.generate(
        configuration.engine.plan(requests, sampling), sampling, config=configuration.label
    ):
        count += len(rows)
    assert count == len(requests)
    configuration.engine.close()
    return time.perf_counter() - began


def whole(config: AuditConfig) -> float:
    """Seconds of the audit and its report."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        run_audits(config, Path(scratch) / "run")
        build_report(Path(scratch) / "run")
        return time.perf_counter() - began


def random_llama(folder: Path) -> Path:
    """A Llama of 85 million random parameters behind the organisms' tokenizer, saved as a checkpoint."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(organism_folder("aligned"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=2048,
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def compare(config: AuditConfig, runs: int) -> None:
    """Interleave bare engine and whole audit; print each pair and the median share."""
    bare(config.model_copy(update={"repetitions": 1, "limit": 64}))  # imports, once
    shares = []
    print("| run | bare engine, s | whole audit, s | added by the pipeline |")
    print("| --- | --- | --- | --- |")
    for run in range(runs):
        alone, together = bare(config), whole(config)
        shares.append((together - alone) / alone)
        print(f"| {run + 1} | {alone:.2f} | {together:.2f} | {shares[-1]:+.1%} |", flush=True)
    print(f"median: {statistics.median(shares):+.1%} (target under 10 %)\n")


def main() -> None:
    """Print both comparisons."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--quick", action="store_true", help="one run of each, fewer prompts")
    given = options.parse_args()
    runs = 1 if given.quick else given.runs
    small = make_config(models=("organism/aligned",), only=("service",), limit=640 if given.quick else None)
    print(f"organism/aligned, {small.limit or 2304} prompts x {small.repetitions}")
    compare(small, runs)
    with tempfile.TemporaryDirectory() as scratch:
        model = random_llama(Path(scratch) / "llama")
        large = make_config(
            only=("service",),
            models=(f"hf/{model}",),
            grader=("lexicon",),
            limit=256,
            repetitions=2,
            max_tokens=8 if given.quick else 32,
        )
        print(f"random Llama of 85 million parameters, 256 prompts x 2, {large.max_tokens} tokens")
        compare(large, 1 if given.quick else 3)


if __name__ == "__main__":
    main()
