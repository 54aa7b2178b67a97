"""Stages: change words, paired differences, spread, and the stage that stands behind a harm."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.measures import implicit_reward, reward_margin, summarise
from evenhand.methods.reward.margins.stages import (
    Contribution,
    change_word,
    name_stage,
    name_step,
    sft_sensitivity,
    stage_change,
    stage_contributions,
    stage_spread,
)
from evenhand.records import Interval


def test_contributions_need_the_same_pairs() -> None:
    with pytest.raises(BadInput, match="2, 1, 2 pairs"):
        stage_contributions([0.0, 1.0], [0.0], [0.0, 1.0])
    with pytest.raises(BadInput, match="not a finite"):
        stage_contributions([math.nan], [0.0], [0.0])


def test_change_words() -> None:
    assert change_word(Interval(0.1, 3, 0.95, "")) == "amplifies"
    assert change_word(Interval(-3, -0.1, 0.95, "")) == "reduces"
    assert change_word(Interval(0.0, 3, 0.95, "")) == "no detectable change"
    assert change_word(None) == "no detectable change"


def wins(rate: float, clusters: int = 30, rows: int = 8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.random((clusters, rows)) < rate + generator.normal(0, 0.02, (clusters, 1))).ravel().astype(float)


LABELS = np.repeat(np.arange(30), 8).tolist()


def test_a_stage_that_amplifies() -> None:
    base, stage = wins(0.6), wins(0.8, seed=1)
    found = stage_change(stage, base, LABELS, draws=2000)
    assert found.points == pytest.approx(100 * (stage.mean() - base.mean()))
    assert (found.base, found.stage) == pytest.approx((base.mean(), stage.mean()))
    assert found.word == "amplifies"
    assert found.interval is not None
    assert found.test is not None
    assert found.test.p < 0.01
    assert found.interval.low < found.points < found.interval.high
    # Both levels lie above one half, so the distance from it grows as the rate does.
    assert found.distance == pytest.approx(found.points)
    assert found.distance_interval is not None
    assert found.distance_interval.low < found.distance < found.distance_interval.high
    back = stage_change(base, stage, LABELS, draws=2000)
    assert back.word == "reduces"
    assert back.points == -found.points


def test_a_move_toward_one_half_shrinks_the_distance() -> None:
    found = stage_change([0.48] * 2 + [0.5] * 2, [0.40] * 4, ["a", "a", "b", "b"], draws=100)
    assert found.points == pytest.approx(9)
    assert found.distance == pytest.approx(-9)


def test_items_are_paired_and_pairing_narrows() -> None:
    generator = np.random.default_rng(0)
    level = np.repeat(generator.random(30), 8)
    base = (generator.random(240) < level).astype(float)
    stage = np.where(generator.random(240) < 0.05, 1 - base, base)
    paired = stage_change(stage, base, LABELS, draws=1000)
    order = np.random.default_rng(1).permutation(240)
    broken = stage_change(stage[order], base, LABELS, draws=1000)
    assert paired.interval is not None
    assert broken.interval is not None
    assert paired.interval.width < 0.5 * broken.interval.width


def test_items_without_a_value_are_counted() -> None:
    stage = [1.0, math.nan, 0.0, 1.0]
    base = [0.0, 1.0, math.nan, 0.0]
    found = stage_change(stage, base, ["a", "a", "b", "b"], draws=100)
    assert (found.n_items, found.n_clusters, found.unpaired) == (2, 2, 2)
    assert found.points == 100
    assert found.interval is None
    assert found.reason == "no variation between clusters"
    assert found.word == "no detectable change"
    none = stage_change([math.nan], [0.5], ["a"])
    assert (none.points, none.unpaired, none.reason) == (None, 1, "no item in both models")
    one = stage_change([1.0, 0.0], [0.0, 0.0], ["a", "a"])
    assert (one.points, one.test, one.reason) == (50, None, "one cluster")


def test_change_refuses_bad_input() -> None:
    with pytest.raises(BadInput, match="outside 0 to 1") as caught:
        stage_change([0.5, 55.0], [0.5, 0.5], ["a", "b"])
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="same items"):
        stage_change([0.5], [0.5, 0.5], ["a"])


def test_spread_between_stages() -> None:
    generator = np.random.default_rng(0)
    stages = {name: generator.normal(0, scale, 40) for name, scale in (("sft", 0.5), ("dpo", 2.0))}
    labels = list(range(40))
    found = stage_spread({name: (values, labels) for name, values in stages.items()})
    theirs = stats.levene(*stages.values(), center="median")
    assert (found.statistic, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.deviations["dpo"] == pytest.approx(stages["dpo"].std(ddof=1))
    one = stage_spread({"sft": ([1.0, 2.0], ["a", "a"])})
    assert (one.p, one.deviations["sft"]) == (None, None)
    assert one.reason


def shift(estimate: float, p: float | None = 0.001, half: float = 0.1) -> Contribution:
    return Contribution(estimate, Interval(estimate - half, estimate + half, 0.95, ""), p)


@pytest.mark.parametrize(
    ("base", "sft", "dpo", "fate", "stage", "steps"),
    [
        (0.0, shift(1.0), shift(0.02, 0.9), "introduced", "sft", ("introduced", "preserved")),
        (0.0, shift(0.02, 0.9), shift(1.0), "introduced", "dpo", ("none", "introduced")),
        (0.0, shift(0.5), shift(1.0), "introduced", "dpo", ("introduced", "amplified")),
        (0.8, shift(0.0, 0.9), shift(1.0), "amplified", "dpo", ("preserved", "amplified")),
        (2.0, shift(-1.0), shift(0.0, 1.0), "attenuated", "sft", ("attenuated", "preserved")),
        (0.5, shift(0.0, 1.0), shift(-1.0), "reversed", "dpo", ("preserved", "reversed")),
        (-3.0, shift(0.0, 1.0), shift(1.0), "none", "dpo", ("none", "none")),
    ],
)
def test_named_stage(
    base: float, sft: Contribution, dpo: Contribution, fate: str, stage: str, steps: tuple[str, str]
) -> None:
    found = name_stage(base, shift(sft.estimate + dpo.estimate), sft, dpo)
    assert (found.fate, found.stage, (found.sft.fate, found.dpo.fate)) == (fate, stage, steps)
    assert found.reason == ""


def test_no_stage_is_named_without_evidence() -> None:
    nothing = name_stage(0.0, shift(0.05, 0.6), shift(0.03, 0.8), shift(0.02, 0.8))
    assert (nothing.fate, nothing.stage, nothing.reason) == ("none", None, "no detectable total shift")
    opposed = name_stage(0.0, shift(0.0, 1.0), shift(1.0), shift(-1.0))
    assert (opposed.fate, opposed.stage) == ("none", None)
    assert "opposite" in opposed.reason
    assert (opposed.sft.fate, opposed.dpo.fate) == ("introduced", "reversed")
    spread = name_stage(0.0, shift(0.6), shift(0.3, 0.07), shift(0.3, 0.07))
    assert spread.stage is None
    assert "neither" in spread.reason


def test_both_interval_and_adjusted_p_must_show_a_shift() -> None:
    assert name_step(0.0, shift(1.0)).direction == 1
    assert name_step(0.0, shift(-1.0)).direction == -1
    for unseen in (shift(1.0, 0.2), shift(1.0, None), shift(1.0, half=2), Contribution(1.0, None, 0.001)):
        assert name_step(0.0, unseen).direction == 0
        assert name_step(0.0, unseen).fate == "none"


def test_shifts_must_sum_to_the_total() -> None:
    with pytest.raises(BadInput, match="do not sum"):
        name_stage(0.0, shift(2.0), shift(0.5), shift(0.5))


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
