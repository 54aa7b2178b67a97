"""Served responses only, on stems where both groups were served: the selection that refusals cause does not leak in."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.helpful import helpful_contrasts


def test_refusals_on_hard_stems_do_not_look_like_shorter_answers() -> None:
    # Answers take 10 words on easy stems (0-5) and 50 on hard ones (6, 7), for everyone. Group 1 is refused on hard stems.
    names, stems, reps = (a.ravel() for a in np.meshgrid(range(8), range(8), range(3), indexing="ij"))
    groups = np.repeat([0, 1], 4)
    words = np.where(stems >= 6, 50.0, 10.0) + (names + stems + reps) % 3
    served = ~((groups[names] == 1) & (stems >= 6))
    found = helpful_contrasts(names, stems, words, served, groups, 0, draws=500)
    plain = words[served & (groups[names] == 1)].mean() - words[served & (groups[names] == 0)].mean()
    assert plain < -9
    contrast = found.family.contrasts[0]
    assert contrast.difference == pytest.approx(0, abs=1e-9)
    assert (contrast.stems, contrast.stems_dropped) == (6, 2)
    assert contrast.test is not None
    assert contrast.test.p > 0.5
    assert found.served == {0: (96, 96), 1: (72, 96)}
    assert found.unmeasured == 0
    assert contrast.odds_ratio is None


def test_a_real_difference_is_found_with_its_interval() -> None:
    generator = np.random.default_rng(0)
    names, stems, _ = (a.ravel() for a in np.meshgrid(range(16), range(12), range(3), indexing="ij"))
    groups = np.repeat([0, 1], 8)
    words = 30 + generator.normal(0, 5, 12)[stems] + generator.normal(0, 3, names.size) - 6 * groups[names]
    words[5] = np.nan
    served = generator.random(names.size) < 0.7
    served[5] = True
    found = helpful_contrasts(names, stems, words, served, groups, 0, draws=500)
    contrast = found.family.contrasts[0]
    assert contrast.interval is not None
    assert contrast.interval.low < -6 < contrast.interval.high < 0
    assert contrast.test is not None
    assert contrast.test.p < 0.001
    assert found.unmeasured == 1


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="no served response"):
        helpful_contrasts([0, 1], [0, 0], [1.0, 2.0], np.array([False, True]), [0, 1], 0)
    with pytest.raises(BadInput, match="unequal length"):
        helpful_contrasts([0, 1], [0, 0], [1.0], np.array([True]), [0, 1], 0)
