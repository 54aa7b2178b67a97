"""The readable tables and the sign check, on numbers made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evenhand.methods.tsdi.estimate.estimator import Estimated
from evenhand.methods.tsdi.estimate.findings import deciding_shift, positions_frame, sign_of, token_text


def estimated() -> Estimated:
    """Five tokens; the openers are 1 (likely), 2 (likely) and 4 (never written), with noise that tokens 1 and 2 share."""
    bias = np.asarray([[0.0, 1.0, 2.0, -5.0, 0.5]], np.float32)
    p = np.asarray([[0.5, 0.3, 0.2, 0.0, 0.0]], np.float32)
    q = np.asarray([[0.8, 0.1, 0.1, 0.0, 0.0]], np.float32)
    covariance = np.asarray([[[0.04, 0.04, 0.0], [0.04, 0.04, 0.0], [0.0, 0.0, 0.01]]])
    shift = np.asarray([[1.0, 2.0, 0.5]])
    return Estimated(bias, np.zeros_like(bias), p, q, (1, 2, 4), shift, covariance, 100, 0, (0.2,))


def test_shifts_and_their_errors_use_the_covariance_of_the_openers() -> None:
    row = positions_frame(estimated(), excluded=(3,)).row(0, named=True)
    assert row["opener_shift"] == pytest.approx(3.5 / 3)
    assert row["opener_error"] == pytest.approx(np.sqrt(0.17) / 3)
    assert row["likely_shift"] == pytest.approx(1.5)
    assert row["likely_error"] == pytest.approx(0.2)  # fully shared noise does not average out
    assert (row["openers"], row["likely_openers"], row["likely_tokens"]) == (3, 2, 3)
    assert row["opener_mass_aligned"] == pytest.approx(0.5)
    assert row["opener_mass_reference"] == pytest.approx(0.2)
    assert row["moved_mass"] == pytest.approx(0.3)
    assert row["largest_bias"] == 2.0  # of likely tokens alone
    assert deciding_shift(row) == (row["likely_shift"], row["likely_error"])


def test_without_likely_openers_all_of_them_are_told() -> None:
    found = estimated()
    found.p_aligned[:] = found.p_reference[:] = 0
    row = positions_frame(found, excluded=()).row(0, named=True)
    assert row["likely_shift"] is None
    assert deciding_shift(row) == (row["opener_shift"], row["opener_error"])


@pytest.mark.parametrize(
    ("shift", "error", "sign"),
    [
        (0.5, 0.1, "raised"),
        (0.5, 0.3, "not raised"),
        (0.04, 0.001, "not raised"),
        (-0.5, 0.1, "lowered"),
        (-0.5, 0.3, "not raised"),
        (0.0, 0.0, "not raised"),
        (None, None, "unknown"),
    ],
)
def test_the_sign(shift: float | None, error: float | None, sign: str) -> None:
    assert sign_of(shift, error) == sign


def test_parts_of_a_character_are_told_in_their_raw_form(tiny: Any) -> None:
    tokenizer = tiny.make_tokenizer()
    byte = tokenizer("é", add_special_tokens=False).input_ids[0]
    assert "\ufffd" in tokenizer.decode([byte])
    assert "\ufffd" not in token_text(tokenizer, byte)
    assert token_text(tokenizer, tokenizer("H", add_special_tokens=False).input_ids[0]) == "H"
