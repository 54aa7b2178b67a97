"""A language model with 3 tokens and texts of length 2, all 9 of them enumerated (implicit_reward section 16, 1 to 3)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special

from evenhand.methods.reward.margins.statistics.reward import implicit_reward, reward_margin, summarise
from evenhand.methods.reward.margins.statistics.stages import sft_sensitivity, stage_contributions

TEXTS = list(itertools.product(range(3), repeat=2))
PAIRS = list(itertools.permutations(range(9), 2))


def random_model(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the first token, (3,), and of the second after each first, (3, 3)."""
    return generator.normal(0, 2, 3), generator.normal(0, 2, (3, 3))


def scores(logits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """ln p of each text, (9,), one token after the other."""
    first, second = special.log_softmax(logits[0]), special.log_softmax(logits[1], axis=1)
    return np.array([first[a] + second[a, b] for a, b in TEXTS])


def tuned(reference: np.ndarray, reward: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """The logits of the model proportional to reference x exp(reward / beta), as a model of tokens."""
    joint = (reference + reward / beta).reshape(3, 3)
    return special.logsumexp(joint, axis=1), joint


def margins(values: np.ndarray) -> np.ndarray:
    return np.array([values[h] - values[c] for h, c in PAIRS])


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_margins_are_differences_of_the_true_reward(seed: int, beta: float) -> None:
    generator = np.random.default_rng(seed)
    reference = scores(random_model(generator))
    reward = generator.normal(0, 0.3, 9)
    policy = scores(tuned(reference, reward, beta))
    assert np.exp(policy).sum() == pytest.approx(1, abs=1e-12)
    found = reward_margin(margins(policy), margins(reference), beta)
    assert np.abs(found - margins(reward)).max() < 1e-9
    shift_free = implicit_reward(policy, reference, beta)
    assert np.sum(np.exp(reference + shift_free / beta)) == pytest.approx(1, abs=1e-9)
    # The part that is left out is the same for every text of the context.
    assert np.ptp(reward - shift_free) < 1e-9


def test_swapping_doubling_and_a_policy_equal_to_its_reference() -> None:
    generator = np.random.default_rng(0)
    reference, policy = scores(random_model(generator)), scores(random_model(generator))
    delta = reward_margin(margins(policy), margins(reference), 0.1)
    swapped = reward_margin(-margins(policy), -margins(reference), 0.1)
    assert np.array_equal(swapped, -delta)
    assert np.array_equal(reward_margin(margins(policy), margins(reference), 0.2), 2 * delta)
    assert not reward_margin(margins(policy), margins(policy), 0.1).any()
    assert np.abs(delta).min() > 0
    # Every pair stands in both orders, so selection is even.
    assert summarise(delta, range(len(delta)), beta=0.1, draws=50).ssr == pytest.approx(0.5)


def test_a_constant_on_the_logits_of_a_position_changes_nothing() -> None:
    first, second = random_model(np.random.default_rng(0))
    moved = (first + 7.5, second + np.array([[-3.0], [100.0], [0.25]]))
    assert scores(moved) == pytest.approx(scores((first, second)), abs=1e-12)


def test_stage_algebra() -> None:
    generator = np.random.default_rng(4)
    base, sft, dpo, both = (margins(scores(random_model(generator))) for _ in range(4))
    parts = stage_contributions(base, sft, both)
    assert np.abs(parts.total - parts.sft - parts.dpo).max() < 1e-9
    assert parts.total == pytest.approx(both - base)
    assert parts.dpo == pytest.approx(reward_margin(both, sft, 0.1) / 0.1)
    sensitivity = sft_sensitivity(base, sft, dpo, both)
    assert sensitivity.sft_dpo == pytest.approx(parts.dpo)
    assert sensitivity.reward_change == pytest.approx((both - sft) - (dpo - base))
    assert sensitivity.margin_change == pytest.approx(both - dpo)
