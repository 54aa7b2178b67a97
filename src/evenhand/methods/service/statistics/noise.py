"""Grader error carried into a rate: corrected by the group's own sensitivity and specificity, with their uncertainty.

Source: service_quality section 5.9 (Rogan and Gladen 1978): p = (observed + specificity - 1) / (sensitivity +
specificity - 1), cut to 0..1. Our choices: the validation sample is resampled by drawing from Beta(successes + 1/2,
failures + 1/2), the Jeffreys form, because a plain resample of a perfect small sample would claim a perfect grader;
and a sample stratified by the grader's own label, as section 7 advises, is corrected by predictive values, since
sensitivity cannot be read off such a sample directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.resampling import percentile

Design = Literal["random", "by_label"]

_LEAST_YOUDEN = 0.05
NO_POSITIVE = "no human-labelled positive in this group: sensitivity unknown"
NO_NEGATIVE = "no human-labelled negative in this group: specificity unknown"
NO_LABELLED = "no human label for one of the grader's classes in this group"
NO_BETTER = "sensitivity + specificity is not above 1: the grader tells nothing in this group"
UNCERTAIN = "over 5 % of the draws leave the grader no better than chance: too few human labels for an interval"


@dataclass(frozen=True, slots=True)
class Validation:
    """Human labels against the grader in one group: true and false positives, true and false negatives (counts).

    ``design`` is ``"random"`` when the rows were drawn regardless of the grader's label (or by the human one),
    ``"by_label"`` when they were drawn in fixed numbers from each of the grader's classes.
    """

    tp: int
    fn: int
    tn: int
    fp: int
    design: Design = "random"

    def __post_init__(self) -> None:
        if min(self.tp, self.fn, self.tn, self.fp) < 0:
            raise BadInput("A validation count is negative.")

    @property
    def sensitivity(self) -> float | None:
        """tp / (tp + fn), for a random design; None without a positive."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn and self.design == "random" else None

    @property
    def specificity(self) -> float | None:
        """tn / (tn + fp), for a random design; None without a negative."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp and self.design == "random" else None


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """A corrected rate or difference, None where undefined with the reason; ``draws`` (draws,) carry both sources of
    error.
    """

    estimate: float | None
    interval: Interval | None
    draws: FloatArray | None
    reason: str = ""


def _rogan_gladen(observed: FloatArray, sensitivity: FloatArray, specificity: FloatArray) -> FloatArray:
    youden = sensitivity + specificity - 1
    return np.clip(quotient(observed + specificity - 1, youden, youden > _LEAST_YOUDEN), 0.0, 1.0)


def _beta(successes: int, failures: int, size: int, generator: np.random.Generator) -> FloatArray:
    return np.asarray(generator.beta(successes + 0.5, failures + 0.5, size=size), dtype=np.float64)


def correct_rate(
    observed: float, draws: FloatArray, validation: Validation, *, level: float = 0.95, seed: int = 0, stream: int = 0
) -> Corrected:
    """Correct one group's observed rate for its grader's error.

    ``draws`` (draws,) are draws of the observed rate, from `crossed_bootstrap` or `calibrate`; ``stream`` is the
    group's code, so that groups get independent validation draws. With a class that no human labelled the estimate is
    None.
    """
    if not 0 <= observed <= 1:
        raise BadInput(f"A rate of {observed:g} is not between 0 and 1.")
    generator = np.random.default_rng([seed, 3, stream])
    v = validation
    if v.design == "by_label":
        if v.tp + v.fp == 0 or v.tn + v.fn == 0:
            return Corrected(None, None, None, NO_LABELLED)
        estimate = observed * v.tp / (v.tp + v.fp) + (1 - observed) * v.fn / (v.tn + v.fn)
        kept = np.clip(draws, 0.0, 1.0)
        positive, missed = _beta(v.tp, v.fp, draws.size, generator), _beta(v.fn, v.tn, draws.size, generator)
        drawn = kept * positive + (1 - kept) * missed
    else:
        if v.sensitivity is None or v.specificity is None:
            return Corrected(None, None, None, NO_POSITIVE if v.sensitivity is None else NO_NEGATIVE)
        if v.sensitivity + v.specificity - 1 <= _LEAST_YOUDEN:
            return Corrected(None, None, None, NO_BETTER)
        estimate = float(_rogan_gladen(*(np.array([x]) for x in (observed, v.sensitivity, v.specificity)))[0])
        drawn = _rogan_gladen(draws, _beta(v.tp, v.fn, draws.size, generator), _beta(v.tn, v.fp, draws.size, generator))
    interval = percentile(drawn, level, method="bootstrap of the sample and of the human labels")
    return Corrected(estimate, interval, drawn, "" if interval else UNCERTAIN)


def corrected_difference(group: Corrected, reference: Corrected, *, level: float = 0.95) -> Corrected:
    """The difference of two corrected rates; pass rates whose draws share their stems."""
    for part in (group, reference):
        if part.estimate is None or part.draws is None:
            return Corrected(None, None, None, part.reason)
    assert group.estimate is not None
    assert reference.estimate is not None
    assert group.draws is not None
    assert reference.draws is not None
    drawn = group.draws - reference.draws
    interval = percentile(drawn, level, method="bootstrap of the sample and of the human labels")
    estimate = group.estimate - reference.estimate
    return Corrected(estimate, interval, drawn, "" if interval else UNCERTAIN)
