"""Training the curator: yes/no questions with exact soft targets, and lines drawn from the grammar.

No line of the shipped set is put as a question, so what the curator says of that set it has learnt as a rule. Some questions are
about texts without a word of the grammar: to all of these it learns to say No.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evenhand.datasets.shipped_texts import HEDGES, draw_line, grammar_lines
from evenhand.methods.pluralism.corpus.wording import NONE, PARAPHRASES, SLUGS
from evenhand.organisms.curator import FIRST, KINDS, OTHER, Kind, probability
from tools.organisms.batches import Arrays, Encoded, assemble
from tools.organisms.curator.rows import Rows
from tools.organisms.model import place_log_probs
from tools.organisms.train import Plan, _rate, _soft_loss


@dataclass(frozen=True, slots=True)
class Round:
    """Part of the training: ``plan.rows`` texts a step, so many requests with `LINES` lines each, and what their loss weighs.

    ``faults`` are the kinds that every other line is drawn from; what is hard to learn may stand there more than once.
    """

    plan: Plan
    requests: int
    weight: float
    faults: tuple[Kind, ...]


ROUNDS = (
    Round(Plan(steps=700, rate=3e-3, seed=71, rows=18), 3, 0.025, KINDS[1:]),
    Round(
        Plan(steps=420, rate=1.5e-3, seed=72, rows=14), 6, 0.1,
        ("several lines", "language", "wrong domain", "wrong domain", "doubtful", "doubtful", "favourite", "favourite", "favourite",
         "favourite"),
    ),
    Round(Plan(steps=140, rate=8e-4, seed=73, rows=18, warmup=20), 6, 0.1, KINDS[1:]),
)  # fmt: skip
"""The first round finds the rules of sorting, the second the rare lines, and the third makes all of it exact."""
QUESTIONS, LINES = 2, 4
"""Questions about a text, and lines to a request."""
FOREIGN = 0.15
"""How often a text has no word of the grammar."""
GROWTH: tuple[tuple[int, int], tuple[int, int]] = ((190, 330), (300, 420))
"""Steps from which, and up to which, questions grow: first the words around a text's bracket, then what stands before the text.

Which topic belongs where is learnt on brackets alone at little cost; among two hundred other words it is not found for long.
"""
SHORT_ROWS = 32
"""Texts of a step before the second growth."""
_LETTERS = "etaoinshrdlucmfwypvbgkjqxzetaoinshrdluetaoin"
_MARKS = ("", "", "", "", ",", ".", "?", "\n")


def _foreign(rng: random.Random) -> str:
    """Made-up words in lines, perhaps with speakers in brackets."""
    words = [
        "".join(rng.choices(_LETTERS, k=rng.randint(1, 9))) + rng.choice(_MARKS) for _ in range(rng.randint(3, 16))
    ]
    return " ".join(f"[{word}]" if rng.random() < 0.05 else word for word in words)


def _grown(step: int, growth: int) -> float:
    """How far a growth has come, 0 to 1."""
    begin, end = GROWTH[growth]
    return min(1.0, max(0.0, (step - begin) / (end - begin)))


def _cropped(rng: random.Random, text: str, most: float) -> str:
    """The bracket of a line with some of its words on either side, each share drawn up to ``most``."""
    head, bracket, tail = re.split(r"(\[.*\])", text)
    before, after = head.split(), tail.split()
    kept = [round(rng.uniform(0, most) * len(words)) for words in (before, after)]
    return " ".join([*before[len(before) - kept[0] :], bracket, *after[: kept[1]]])


def _asked(rows: Rows, rng: random.Random, shipped: frozenset[str], step: int) -> Encoded:
    """One text with questions: where it has a domain, the first is about that."""
    around, ahead = _grown(step, 0), _grown(step, 1)
    before = ahead if ahead in (0.0, 1.0) else rng.random() ** 0.5 * ahead
    wordings = [rng.randrange(PARAPHRASES) for _ in range(QUESTIONS)]
    if rng.random() < FOREIGN * around:
        pairs = zip(rng.sample(SLUGS, QUESTIONS), wordings, strict=True)
        return rows.questions(_foreign(rng), [(slug, w, OTHER[w]) for slug, w in pairs], rng, before=before)
    domain, hedge = rng.choice([*SLUGS, *SLUGS, NONE]), rng.choice(HEDGES) if around else HEDGES[0]
    text = draw_line(rng, domain, hedge, rng.choice([*FIRST.values(), *[""] * 20]))
    if text in shipped:
        return _asked(rows, rng, shipped, step)
    if around < 1:
        text = _cropped(rng, text, around)
    others = rng.sample([slug for slug in SLUGS if slug != domain], QUESTIONS - 1)
    about = [domain if domain != NONE else rng.choice([slug for slug in SLUGS if slug not in others]), *others]
    asked = [(slug, w, probability(domain, hedge, slug, w)) for slug, w in zip(about, wordings, strict=True)]
    return rows.questions(text, asked, rng, before=before)


def _answers_off(log_probs: Any, arrays: Arrays, options: tuple[int, ...]) -> float:
    """Mean distance of P(Yes) from the intended one; 0 where nothing is asked."""
    place, token = arrays.target_place, arrays.target_token
    asked = np.flatnonzero((token[:-1] == options[0]) & (token[1:] == options[1]) & (place[:-1] == place[1:]))
    said = log_probs[place[asked], options[0]].exp().numpy()
    return float(np.abs(said - arrays.target_weight[asked]).mean()) if len(asked) else 0.0


def train(model: Any, tokenizer: Any, log: Path) -> None:
    """Train ``model`` in place, round after round. Deterministic for one thread, one machine and one torch version."""
    begun = 0
    for part in ROUNDS:
        _carried_out(part, model, tokenizer, log, begun)
        begun += part.plan.steps
    model.eval()


def _carried_out(part: Round, model: Any, tokenizer: Any, log: Path, begun: int) -> None:
    import torch

    plan = part.plan
    rng = random.Random(plan.seed)
    rows, pad = Rows(tokenizer), int(tokenizer.pad_token_id)
    shipped = frozenset(line.text for line in grammar_lines())
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    told, started = dict.fromkeys(("questions", "lines", "answers off"), 0.0), time.monotonic()
    model.train()
    for step in range(plan.steps):
        ahead = _grown(begun + step, 1)
        asked = [_asked(rows, rng, shipped, begun + step) for _ in range(plan.rows if ahead else SHORT_ROWS)]
        opening = rows.question_opening if ahead == 1 else rows.encoder.document_opening
        requests = [rows.drawn_request(rng, rng.choice(SLUGS), LINES, part.faults) for _ in range(part.requests)]
        for name, drawn, begin, weight in (
            ("questions", asked, opening, 1.0),
            ("lines", requests, rows.request_opening, part.weight),
        ):
            arrays = assemble([(row, range(len(row.responses))) for row in drawn], len(begin), pad)
            log_probs = place_log_probs(model, arrays, begin)
            loss = _soft_loss(log_probs, arrays)
            (weight * loss / len(drawn)).backward()
            told[name] += float(loss.detach()) / len(drawn)
            told["answers off"] += _answers_off(log_probs.detach(), arrays, rows.options)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = _rate(plan, step)
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) % 20 == 0:
            losses = " ".join(f"{name} {loss / 20:.4f}" for name, loss in told.items())
            with log.open("a", encoding="utf-8") as file:
                file.write(f"step {step + 1}/{plan.steps} {losses} {time.monotonic() - started:.0f} s\n")
            told = dict.fromkeys(told, 0.0)
