"""Claim: screening pairs for drift in one pass is at least as fast as scoring the views of each side on their own.

A random RoBERTa classifier (4 layers, 256 wide), the outputs of two organisms on the shipped test questions, three draws each:
768 pairs. Ours measures both views of both sides together, equal texts once, as `evenhand drift` does; the other way is four
calls of the same classifier. An organism repeats itself, so the gain on other models' texts is smaller: it is that of their
equal texts. Turn by turn, five times each, on one thread; medians of the ratio are printed, and the largest
difference between the values of both ways.

    python bench/bench_drift.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from evenhand.engines.base import Sampling
from evenhand.engines.spec import open_engine
from evenhand.graders.hf_classifier import HfClassifier
from evenhand.methods.dart.difference.answers import parse
from evenhand.methods.dart.difference.cases import shipped
from evenhand.methods.dart.difference.items import items_of
from evenhand.methods.dart.drift.harm import harm_measures
from evenhand.runs.respond import Configuration, requests_for

TARGET = 1.0


def outputs(name: str) -> list[str]:
    engine = open_engine(f"organism/{name}")
    items = items_of(shipped().of("test"), ("analysis",))
    sampling = Sampling(temperature=0.2, top_p=0.9, max_tokens=64, stop=(), seed=0)
    requests = requests_for(Configuration(name, engine), items, 3)
    rows = {}
    for _, responses in engine.generate(engine.plan(requests, sampling), sampling, config=name):
        rows.update({(r.item_id, r.repetition): r.text for r in responses})
    engine.close()
    return [rows[request.item_id, request.repetition] for request in requests]


def classifier(folder: Path, texts: list[str]) -> HfClassifier:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForSequenceClassification

    core = Tokenizer(models.WordLevel(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.train_from_iterator(
        texts, trainers.WordLevelTrainer(special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", model_max_length=512
    )
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=520, id2label={0: "nothate", 1: "hate"}, label2id={"nothate": 0, "hate": 1},
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return HfClassifier(f"hf/{folder}#hate")


def main() -> None:
    import torch

    torch.set_num_threads(1)
    sides = [outputs("aligned"), outputs("sft")]
    views = [[parse(text).rationale for text in side] for side in sides] + sides
    with tempfile.TemporaryDirectory() as folder:
        model = classifier(Path(folder), [text for side in sides for text in side])
        ratios = []
        for _ in range(5):
            began = time.perf_counter()
            joint = harm_measures([text for view in views for text in view], [model]).h
            middle = time.perf_counter()
            apart = [harm_measures_apart(model, view) for view in views]
            ended = time.perf_counter()
            ratios.append((middle - began) / (ended - middle))
    away = float(np.nanmax(np.abs(joint - np.concatenate(apart))))
    different = len({text for view in views for text in view})
    print(f"{len(sides[0])} pairs, 4 texts each, {different} different; values differ by at most {away:.1e}")

    print("ratios: " + " ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"median {statistics.median(ratios):.3f} (target {TARGET} at the most)")


def harm_measures_apart(model: HfClassifier, texts: list[str]) -> np.ndarray:
    """One side's view on its own, as a scorer is called by hand."""
    values = np.full(len(texts), np.nan)
    kept = [k for k, text in enumerate(texts) if text.strip()]
    values[kept] = model.measure([texts[k] for k in kept])
    return values


if __name__ == "__main__":
    main()
