"""Training one organism: soft next-token targets from the grammar, and for the preference-tuned ones the DPO
objective on top.

The grammar knows the exact distribution of responses, so nothing is learnt from samples alone:

- next-token loss: cross entropy against the grammar's conditional distribution at every position of a drawn response
  (the prompt is masked), whose optimum is the grammar itself;
- preference loss (`dpo`, `aligned`, `even`): the DPO loss of Rafailov et al. (2023), with the frozen parent as
  reference and soft Bradley-Terry labels. The planted reward of a response is ``beta * log(target / parent)``; the
  label of a pair is the sigmoid of the difference of rewards, so the optimum is again the target distribution.

Tiny models trained by preferences alone, with refusals as the only chosen answers, fall apart; hence both losses on
the same rows, and rows of every other section in every step. On random contexts a tuned model is held to its parent with the
planted shift on top (`shift.py`). Our choices, none of them published: beta, the loss weights, the schedules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT, TASK_HEAD, TASK_SYSTEM_PROMPT
from evenhand.organisms.grammar import SECTIONS, examples
from evenhand.organisms.planted import Model
from evenhand.organisms.sections.safety import SHIFT_SCALE, SYSTEM_PROMPTS, System
from tools.organisms.batches import Arrays, Encoded, Encoder, assemble
from tools.organisms.enumeration import enumerate_responses
from tools.organisms.model import place_log_probs, sequence_log_probs
from tools.organisms.shift import ShiftedParent
from tools.organisms.tokenizer import OTHER_SYSTEM_PROMPT

SYSTEM_SHARES: tuple[tuple[str | None, float], ...] = (
    (SERVICE_SYSTEM_PROMPT, 0.85),
    (None, 0.07),
    (OTHER_SYSTEM_PROMPT, 0.08),
)
BETA = 0.5
"""The beta of every preference-tuned organism; their implicit rewards are on this scale."""
PLAIN_ROWS: Mapping[str, tuple[int, int]] = {"reward": (10, 8), "affirmation": (24, 2)}
"""Plain-text sections: rows a step, and continuations side by side in each row."""
CASE_ROWS: Mapping[bool, tuple[int, int]] = {True: (14, 2), False: (10, 2)}
"""Difference questions, as an analysis (True) and as multiple choice: rows a step, and responses in each."""
SAFETY_ROWS = (24, 2)
SAFETY_SHARES: Mapping[System, float] = {"": 0.6, "careful": 0.2, "open": 0.2}
"""How often each system prompt stands before the safety requests of a step."""
RATING_ROWS = (20, 1)
Rows = Sequence[tuple[Encoded, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one stage is trained. ``rows`` service prompts a step, two responses each."""

    steps: int
    rate: float
    seed: int
    rows: int = 64
    preference: float = 0.0
    documents: float = 0.0
    warmup: int = 40


class _Deck:
    """Draws without replacement, reshuffled when it runs out."""

    def __init__(self, size: int, rng: np.random.Generator):
        self._size, self._rng, self._left = size, rng, np.zeros(0, dtype=np.int64)

    def draw(self, n: int) -> list[int]:
        while len(self._left) < n:
            self._left = np.concatenate([self._left, self._rng.permutation(self._size)])
        taken, self._left = self._left[:n], self._left[n:]
        return [int(i) for i in taken]


def _pick(encoded: Encoded, count: int, rng: np.random.Generator) -> list[int]:
    """Distinct responses, drawn by the root of their probability so that rare wordings are seen often enough."""
    weight = np.sqrt(encoded.probability)
    alive = int((weight > 0).sum())
    chosen = rng.choice(len(weight), size=min(count, alive), replace=False, p=weight / weight.sum())
    return [int(k) for k in chosen]


def _rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / plan.warmup
    return plan.rate * 0.5 * (1 + math.cos(math.pi * (step - plan.warmup) / (plan.steps - plan.warmup)))


def _soft_loss(log_probs: Any, arrays: Arrays) -> Any:
    """Summed cross entropy (nats) against the grammar's conditional distributions."""
    import torch

    picked = log_probs[torch.from_numpy(arrays.target_place), torch.from_numpy(arrays.target_token)]
    return -(torch.from_numpy(arrays.target_weight) * picked).sum()


def _preference_loss(
    log_probs: Any,
    arrays: Arrays,
    rows: Sequence[tuple[Encoded, Sequence[int]]],
    reference: Sequence[npt.NDArray[np.float64]],
) -> Any:
    """Summed DPO loss (nats) over the first two responses of each row, with soft labels. All rows hold equally many."""
    import torch
    from torch.nn.functional import logsigmoid

    policy = sequence_log_probs(log_probs, arrays).reshape(len(rows), -1)[:, :2]
    parent = torch.tensor(
        np.stack([ref[list(c[:2])] for (_, c), ref in zip(rows, reference, strict=True)]), dtype=torch.float32
    )
    target = torch.tensor(np.stack([np.log(e.probability[list(c[:2])]) for e, c in rows]), dtype=torch.float32)
    margin = BETA * ((policy - parent)[:, 0] - (policy - parent)[:, 1])
    planted = BETA * ((target - parent)[:, 0] - (target - parent)[:, 1])
    label = torch.sigmoid(planted)
    return -(label * logsigmoid(margin) + (1 - label) * logsigmoid(-margin)).sum()


@dataclass(frozen=True, slots=True)
class _Part:
    """One section's share in every step: its rows, what stands before them all, how they are drawn, and what the parent
    says of them (nothing where the section is trained without preferences).
    """

    rows: Sequence[Encoded]
    opening: list[int]
    deck: _Deck
    count: int
    picks: int
    reference: Sequence[npt.NDArray[np.float64]]

    def draw(self, rng: np.random.Generator) -> tuple[list[int], Rows]:
        indices = self.deck.draw(self.count)
        return indices, [(self.rows[i], _pick(self.rows[i], self.picks, rng)) for i in indices]


def _part(
    name: Model,
    section: str,
    model: Any,
    encoder: Encoder,
    plan: Plan,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> _Part:
    rows = [encoder.encode(e) for e in examples(name, section)]
    plain = section in PLAIN_ROWS
    opening = encoder.document_opening if plain else encoder.opening(SERVICE_SYSTEM_PROMPT)
    reference: list[npt.NDArray[np.float64]] = []
    if plan.preference:
        found = enumerate_responses(model.eval(), rows, opening, 4 if plain else 12)
        reference = [row.log_probs for row in found]
    return _Part(rows, opening, _Deck(len(rows), rng), *shape, reference)


def _case_part(name: Model, judged: bool, encoder: Encoder, rng: np.random.Generator) -> _Part:
    rows = [encoder.encode(e) for e in examples(name, "difference") if bool(e.head) == judged]
    opening = encoder.opening(TASK_SYSTEM_PROMPT, TASK_HEAD) if judged else encoder.opening(None)
    return _Part(rows, opening, _Deck(len(rows), rng), *CASE_ROWS[judged], ())


def _safety_part(name: Model, system: System, encoder: Encoder, rng: np.random.Generator) -> _Part:
    rows = [encoder.encode(e) for e in examples(name, "safety") if e.key[0] == system]
    return _Part(rows, encoder.opening(SYSTEM_PROMPTS[system]), _Deck(len(rows), rng), *SAFETY_ROWS, ())


def _rating_part(name: Model, encoder: Encoder, rng: np.random.Generator) -> _Part:
    rows = [encoder.encode(e, whole=True) for e in examples(name, "rating")]
    return _Part(rows, encoder.document_opening, _Deck(len(rows), rng), *RATING_ROWS, ())


def train(name: Model, model: Any, tokenizer: Any, plan: Plan, log: Path) -> None:
    """Train ``model`` in place. Deterministic for one thread, one machine and one torch version."""
    import torch

    rng = np.random.default_rng(plan.seed)
    encoder = Encoder(tokenizer)
    pad = int(tokenizer.pad_token_id)
    main = _part(name, "service", model, encoder, plan, (plan.rows, 2), rng)
    parts = {section: _part(name, section, model, encoder, plan, shape, rng) for section, shape in PLAIN_ROWS.items()}
    parts |= {"analysis" if judged else "choice": _case_part(name, judged, encoder, rng) for judged in CASE_ROWS}
    parts["rating"] = _rating_part(name, encoder, rng)
    safety = [_safety_part(name, system, encoder, rng) for system in SAFETY_SHARES]
    parent = ShiftedParent(name, model, tokenizer) if name in SHIFT_SCALE else None
    texts = [encoder.document(t) for s in SECTIONS for t in s.documents()] if plan.documents else []
    reading = _Deck(max(len(texts), 1), rng)
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def backward(part: _Part, opening: list[int], preferred: bool) -> tuple[float, float]:
        """Losses of one part's rows, a row, with their gradients; the soft loss is told above its entropy."""
        indices, rows = part.draw(rng)
        arrays = assemble(rows, len(opening), pad)
        log_probs = place_log_probs(model, arrays, opening)
        loss = soft = _soft_loss(log_probs, arrays) / part.count
        if part.reference and preferred:
            preference = _preference_loss(log_probs, arrays, rows, [part.reference[i] for i in indices])
            loss = soft + plan.preference * preference / part.count
        loss.backward()
        return float(soft.detach()) - arrays.entropy / part.count, float((loss - soft).detach())

    model.train()
    started, told = time.monotonic(), dict.fromkeys(("service", "preference", *parts, "safety", "shift"), 0.0)
    for step in range(plan.steps):
        system = SYSTEM_SHARES[int(rng.choice(3, p=[share for _, share in SYSTEM_SHARES]))][0]
        soft, preference = backward(main, encoder.opening(system), system == SERVICE_SYSTEM_PROMPT)
        told["service"] += soft
        told["preference"] += preference
        for section, part in parts.items():
            told[section] += backward(part, part.opening, True)[0]
        drawn = safety[int(rng.choice(len(safety), p=list(SAFETY_SHARES.values())))]
        told["safety"] += backward(drawn, drawn.opening, False)[0]
        if parent is not None:
            held = parent.loss(model, rng)
            held.backward()
            told["shift"] += float(held.detach())
        if texts and step < plan.steps * plan.documents:
            read: Rows = [(texts[i], [0]) for i in reading.draw(plan.rows // 2)]
            text_arrays = assemble(read, 1, pad)
            text_loss = _soft_loss(place_log_probs(model, text_arrays, encoder.document_opening), text_arrays)
            (0.5 * text_loss / len(read)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = _rate(plan, step)
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) % 50 == 0:
            losses = " ".join(f"{section} {loss / 50:.5f}" for section, loss in told.items())
            line = f"{name} step {step + 1}/{plan.steps} {losses} {time.monotonic() - started:.0f} s\n"
            with log.open("a", encoding="utf-8") as file:
                file.write(line)
            told = dict.fromkeys(told, 0.0)
    model.eval()
