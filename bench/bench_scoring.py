"""Claims: scoring is at least 1.15 (unrelated sentences), 1.5 (WinoQueer) and 3 times (MISGENDERED) as fast as lm-eval's HFLM,
and `choose` answers 14 questions about one text at least 3 times as fast as one call each.

A random Llama of 110 million parameters (12 layers, 768 wide, 32,000 tokens) in float32 on one thread; HFLM at the best of its
batch sizes 1, 8, 32 and 64, tried once. Five runs, turn by turn; all are printed. The log-probabilities are compared too. Beside
it: the share of this machine's measured matrix rate, and peak memory for 1,000 and for 100,000 rows (organism of 1 million
parameters, each in a process of its own).

    python bench/bench_scoring.py [--quick]

WinoQueer and MISGENDERED are read from EVENHAND_DATA or ../shared/data; without them those two parts are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("EVENHAND_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))

from evenhand.engines.base import Question, Span
from evenhand.engines.local import LocalEngine
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.records import Message

TARGETS = {"unrelated": 1.15, "winoqueer": 1.5, "misgendered": 3.0, "choose": 3.0}
LAYERS, WIDTH, INNER, VOCABULARY = 12, 768, 2048, 32_000
Pairs = list[tuple[str, str]]


def sentences(count: int) -> list[str]:
    """Sentences of 8 to 24 words drawn from a list of words of our own making: unrelated, of mixed length."""
    import random

    rng = random.Random(5)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(6_000)]
    return [" ".join(rng.choices(words, k=rng.randint(8, 24))).capitalize() + "." for _ in range(count)]


def winoqueer(rows: int) -> Pairs:
    """Both sentences of some consecutive rows from the middle of the file, as the audit scores them."""
    from evenhand.methods.reward.margins.winoqueer import WinoQueer

    pairs = WinoQueer().pairs()[20_000 : 20_000 + rows]
    return [("", text) for pair in pairs for text in (pair.harmful, pair.comparison)]


def misgendered(contexts: int) -> Pairs:
    """Eleven variants of each of some contexts: whole sentences, which share all up to the pronoun."""
    from evenhand.methods.reward.pronouns.misgendered import Misgendered

    blanks = Misgendered().blanks(names=1)
    step = max(1, len(blanks) // contexts)
    return [
        ("", blank.text_before + option + blank.text_after)
        for blank in blanks[::step][:contexts]
        for option in blank.options.values()
    ]


def random_llama(folder: Path, corpus: list[str]) -> None:
    """The random model and a byte-level tokenizer trained on the texts of the benchmark."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    core.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=special[0], eos_token=special[1], pad_token=special[1], model_max_length=512
    )
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=12,
        max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=1, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def peer(folder: Path, batch: int) -> Any:
    """lm-eval's transformers model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=batch, max_length=512)


def of_peer(model: Any, pairs: Pairs) -> list[float]:
    """Log-probabilities by the peer."""
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    return [total for total, _ in model.loglikelihood(requests, disable_tqdm=True)]


def of_ours(engine: LocalEngine, pairs: Pairs) -> list[float]:
    """Log-probabilities by ours."""
    spans = [Span(str(number), text, context) for number, (context, text) in enumerate(pairs)]
    rows = {row.span: row for _, part in engine.score(engine.plan_scores(spans)) for row in part}
    return [float(rows[str(number)].total or 0.0) for number in range(len(pairs))]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def matrix_rate() -> float:
    """Floating-point operations a second of a float32 product of the model's shape on one thread."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.randn(512, WIDTH), torch.randn(WIDTH, INNER)
    best = min(timed(lambda: [a @ b for _ in range(20)])[0] for _ in range(5))
    return 20 * 2 * 512 * WIDTH * INNER / best


def compare(name: str, folder: Path, engine: LocalEngine, pairs: Pairs, runs: int, rate: float) -> float:
    """Interleaved runs of one set of texts; prints every run and returns the median ratio."""
    batch = min(
        (1, 8, 32, 64), key=lambda size: timed(lambda: of_peer(peer_at(folder, size), pairs[: len(pairs) // 3]))[0]
    )
    other = peer_at(folder, batch)
    of_ours(engine, pairs[: len(pairs) // 3])  # the peer is warm from the choice of its batch
    ours, theirs = [], []
    for _ in range(runs):
        seconds, mine = timed(lambda: of_ours(engine, pairs))
        ours.append(seconds)
        seconds, found = timed(lambda: of_peer(other, pairs))
        theirs.append(seconds)
    off = max(abs(a - b) for a, b in zip(mine, found, strict=True))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    median = statistics.median(ratios)
    tokens = sum(len(engine.tokenizer(c + t).input_ids) for c, t in pairs)
    body = 2 * LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER)
    useful = tokens * (body + 2 * WIDTH * VOCABULARY)
    print(f"{name}: {len(pairs)} texts, {tokens} tokens; peer's best batch {batch}; largest difference {off:.1e} nats")
    print("  ours s:", *(f"{x:.2f}" for x in ours), "  peer s:", *(f"{x:.2f}" for x in theirs))
    print("  ratios:", *(f"{x:.2f}" for x in ratios), f"  median {median:.2f} (target {TARGETS[name]})")
    share = useful / statistics.median(ours) / rate
    print(f"  work of all tokens done one by one, at {share:.0%} of the matrix rate (above 100 % where texts share)")
    return median


_PEERS: dict[int, Any] = {}


def peer_at(folder: Path, batch: int) -> Any:
    """One loaded peer for all batch sizes: the size is an attribute."""
    if not _PEERS:
        _PEERS[0] = peer(folder, batch)
    _PEERS[0].batch_size_per_gpu = batch
    return _PEERS[0]


def choosing(engine: LocalEngine, runs: int) -> float:
    """14 yes-or-no questions about one text, together and one call each."""
    text = " ".join(sentences(9))
    questions = [
        Question(str(n), (Message("user", f"{text}\nQuestion {n}: {line}"),), (" yes", " no"))
        for n, line in enumerate(sentences(14))
    ]
    together, apart = [], []
    for _ in range(runs):
        together.append(timed(lambda: list(engine.choose(questions)))[0])
        apart.append(timed(lambda: [list(engine.choose([question])) for question in questions])[0])
    ratios = [b / a for a, b in zip(together, apart, strict=True)]
    print(
        "choose: 14 questions on one text; together s:",
        *(f"{x:.2f}" for x in together),
        "  apart s:",
        *(f"{x:.2f}" for x in apart),
    )
    print(
        "  ratios:",
        *(f"{x:.2f}" for x in ratios),
        f"  median {statistics.median(ratios):.2f} (target {TARGETS['choose']})",
    )
    return statistics.median(ratios)


def memory(rows: int) -> None:
    """Score so many rows with the organism, and print the peak memory of this process in MiB."""
    engine = open_engine("organism/aligned", cache=None, options=EngineOptions(device="cpu"))
    spans = [Span(str(n), f" {n} people like tea.", "Some say that") for n in range(rows)]
    before = 0
    for _, part in engine.score(engine.plan_scores(spans)):
        before += len(part)
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak too
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"{before} rows: {peak / 1024:.0f} MiB at the most")


def main() -> None:
    """Run every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the texts, two runs")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.memory)
        return
    runs, size = (2, 0.2) if arguments.quick else (5, 1.0)
    sets: dict[str, Pairs] = {"unrelated": [("", text) for text in sentences(int(150 * size))]}
    for name, make in (
        ("winoqueer", lambda: winoqueer(int(120 * size))),
        ("misgendered", lambda: misgendered(int(25 * size))),
    ):
        try:
            sets[name] = make()
        except Exception as error:
            print(f"{name}: left out ({error})")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "llama"
        random_llama(folder, [*sentences(4_000), *(c + t for pairs in sets.values() for c, t in pairs)])
        engine = open_engine(f"hf/{folder}", cache=None, options=EngineOptions(device="cpu", dtype="float32"))
        assert isinstance(engine, LocalEngine)
        rate = matrix_rate()
        print(f"matrix rate {rate / 1e9:.1f} GFLOP/s on one thread")
        for name, pairs in sets.items():
            compare(name, folder, engine, pairs, runs, rate)
        choosing(engine, runs)
    for rows in (1_000, 20_000 if arguments.quick else 100_000):
        subprocess.run([sys.executable, __file__, "--memory", str(rows)], check=True)


if __name__ == "__main__":
    main()
