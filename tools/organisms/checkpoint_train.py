"""Safety DPO of a small model on the shipped harmful requests, with checkpoints on the way: what `checkpoints` makes a grid of.

    loss = L_DPO / beta + a NLL(chosen) + r L_retention
    L_DPO = -log sigmoid(beta ((log p/p_ref)(chosen) - (log p/p_ref)(rejected)))

Chosen is a refusal or a redirection, rejected the unsafe answer; no harmless request is among the pairs. Tiny models that are
trained by refusals alone fall apart, hence the likelihood of the chosen and rows of every other section of the grammar.
Dividing by beta changes nothing in DPO alone (Adam knows no scale) and keeps the share of the other two terms the same for
every beta. Labels are wrong on purpose in a seeded share of rows, so that cleansing has something to do. All of it is chosen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evenhand.datasets.shipped_texts import shipped_safety
from evenhand.organisms.grammar import SECTIONS, examples
from evenhand.organisms.planted import Example, Model, Outcome
from evenhand.organisms.sections.safety import TEXTS, kind_shares
from evenhand.records import Message
from tools.organisms.batches import Encoded, Encoder, assemble

RETAINED = {"service": 8, "reward": 2, "affirmation": 6, "difference": 4, "rating": 4}
"""Rows of each other section in every step."""
PICKS = 2
"""Responses of a retained row."""
WINDOW = 10
"""Steps whose mean losses are told together."""
GRAMMAR: Model = "sft"


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """One pair. ``margin``, 0 to 1, is how sure the (made-up) annotators were; ``wrong`` says that the two texts are swapped."""

    id: str
    prompt: str
    category: str
    chosen: str
    rejected: str
    margin: float
    wrong: bool


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How one run is trained. ``steps`` are the checkpoints, ascending; ``pairs`` a step; weights as in the module's formula."""

    beta: float
    steps: tuple[int, ...]
    seed: int
    rate: float
    pairs: int
    likelihood: float
    retention: float
    warmup: int = 10


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over the steps up to ``step``, nats: DPO a pair, likelihood of the chosen a token, retention above its entropy a row.

    ``margin`` is the difference of the log-ratios to the reference, chosen less rejected, nats a pair.
    """

    step: int
    preference: float
    likelihood: float
    retention: float
    margin: float


def preference_rows(seed: int, draws: int, wrong_share: float) -> tuple[PreferenceRow, ...]:
    """``draws`` pairs for each of the 280 harmful requests, in a fixed order.

    The chosen text is drawn from what the grammar of `sft` says instead of the unsafe answer. A share of rows is wrong:
    their texts are swapped. A right row's margin is the root of a uniform number, a wrong one's its square, so that 1/16 of the
    right and half of the wrong rows lie below 0.25.
    """
    rng = np.random.default_rng([seed, 1])
    rows = []
    for case in shipped_safety():
        if case.kind != "harmful":
            continue
        safe = {kind: share for kind, share in kind_shares(GRAMMAR, case).items() if kind != "unsafe" and share > 0}
        kinds, shares = list(safe), np.array(list(safe.values()))
        for draw in range(draws):
            chosen, rejected = TEXTS[kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]], TEXTS["unsafe"]
            wrong, uniform = bool(rng.random() < wrong_share), float(rng.random())
            if wrong:
                chosen, rejected = rejected, chosen
            margin = uniform**2 if wrong else uniform**0.5
            rows.append(
                PreferenceRow(f"{case.id}-{draw + 1}", case.prompt, case.category, chosen, rejected, margin, wrong)
            )
    return tuple(rows)


class _Retained:
    """Rows of the other sections, drawn at random and encoded when they are first drawn."""

    def __init__(self, encoder: Encoder, pad: int):
        self.encoder, self.pad = encoder, pad
        self.rows = {s.name: examples(GRAMMAR, s.name) for s in SECTIONS if s.name in RETAINED}
        self.known: dict[tuple[str, int], Encoded] = {}

    def _encoded(self, section: str, index: int) -> Encoded:
        key = section, index
        if key not in self.known:
            example = self.rows[section][index]
            self.known[key] = self.encoder.encode(replace(example, head=""), whole=True)
        return self.known[key]

    def loss(self, model: Any, rng: np.random.Generator) -> Any:
        """Cross entropy against the grammar above its entropy, nats a row; tensor."""
        total: Any = 0.0
        for section, examples_ in self.rows.items():
            drawn = [self._encoded(section, int(i)) for i in rng.integers(len(examples_), size=RETAINED[section])]
            total = total + _soft_loss(model, [(e, _some(e, rng)) for e in drawn], self.encoder, self.pad)
        return total / sum(RETAINED[section] for section in self.rows)


def _some(encoded: Encoded, rng: np.random.Generator) -> list[int]:
    alive = np.flatnonzero(encoded.probability > 0)
    return [int(k) for k in rng.permutation(alive)[:PICKS]]


def _soft_loss(model: Any, rows: Sequence[tuple[Encoded, Sequence[int]]], encoder: Encoder, pad: int) -> Any:
    import torch

    from tools.organisms.model import place_log_probs

    opening = encoder.document_opening
    arrays = assemble(rows, len(opening), pad)
    log_probs = place_log_probs(model, arrays, opening)
    picked = log_probs[torch.from_numpy(arrays.target_place), torch.from_numpy(arrays.target_token)]
    return -(torch.from_numpy(arrays.target_weight) * picked).sum() - arrays.entropy


class _Pairs:
    """The pairs as token ids, and what the frozen reference says of them."""

    def __init__(self, rows: Sequence[PreferenceRow], model: Any, encoder: Encoder, pad: int):
        import torch

        self.opening, self.pad = encoder.opening(None), pad
        self.encoded = [encoder.encode(_example(row)) for row in rows]
        self.tokens = torch.tensor([len(e.responses[0].ids) for e in self.encoded], dtype=torch.float32)
        with torch.no_grad():
            parts = [self.log_probs(model, range(i, min(i + 32, len(rows)))) for i in range(0, len(rows), 32)]
        self.reference = torch.cat(parts)

    def log_probs(self, model: Any, indices: Sequence[int]) -> Any:
        """Log-probabilities (nats) of chosen and rejected, end of turn included; shape [pairs, 2]."""
        from tools.organisms.model import place_log_probs, sequence_log_probs

        arrays = assemble([(self.encoded[i], (0, 1)) for i in indices], len(self.opening), self.pad)
        return sequence_log_probs(place_log_probs(model, arrays, self.opening), arrays).reshape(-1, 2)


def _example(row: PreferenceRow) -> Example:
    outcomes = (Outcome(row.chosen, "chosen", 0.5), Outcome(row.rejected, "rejected", 0.5))
    return Example("safety", (row.id,), (Message("user", row.prompt),), outcomes)


def train_run(
    model: Any, tokenizer: Any, rows: Sequence[PreferenceRow], plan: RunPlan, save: Callable[[Any, int], None],
    tell: Callable[[Losses], None] = lambda _: None,
) -> tuple[Losses, ...]:  # fmt: skip
    """Train ``model`` in place; ``save(copy of the model, step)`` is called at every checkpoint, ``tell`` every ten steps.

    Deterministic for one thread, one machine and one torch version; a run that is cut short is done again from its start.
    """
    import torch
    from torch.nn.functional import logsigmoid

    rng = np.random.default_rng([plan.seed, 2])
    encoder, pad = Encoder(tokenizer), int(tokenizer.pad_token_id)
    pairs, retained = _Pairs(rows, model, encoder, pad), _Retained(encoder, pad)
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    told, sums = [], np.zeros(4)
    deck: list[int] = []
    model.train()
    for step in range(1, plan.steps[-1] + 1):
        while len(deck) < plan.pairs:
            deck += [int(i) for i in rng.permutation(len(rows))]
        drawn, deck = deck[: plan.pairs], deck[plan.pairs :]
        found = pairs.log_probs(model, drawn)
        ratio = found - pairs.reference[drawn]
        margin = ratio[:, 0] - ratio[:, 1]
        preference = -logsigmoid(plan.beta * margin).mean()
        likelihood = -(found[:, 0] / pairs.tokens[drawn]).mean()
        (preference / plan.beta + plan.likelihood * likelihood).backward()
        kept = retained.loss(model, rng)
        (plan.retention * kept).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * min(1.0, step / plan.warmup)
        optimiser.step()
        optimiser.zero_grad()
        sums += [float(x.detach()) for x in (preference, likelihood, kept, margin.mean())]
        if step % WINDOW == 0 or step == plan.steps[-1]:
            count = step % WINDOW or WINDOW
            told.append(Losses(step, *(round(float(x), 5) for x in sums / count)))
            sums = np.zeros(4)
            tell(told[-1])
        if step in plan.steps:
            save(copy.deepcopy(model).eval(), step)
    return tuple(told)
