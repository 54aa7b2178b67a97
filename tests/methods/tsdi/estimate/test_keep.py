"""What part of a bias is kept: nothing else changes, and the header says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evenhand.engines.token_bias import BiasHeader, TokenBias
from evenhand.methods.tsdi.estimate.keep import kept


def test_raised_and_openers_zero_the_rest() -> None:
    table = np.array([[1.0, -2.0, 0.5, -0.25], [0.0, 3.0, -1.0, 0.75]], dtype=np.float32)
    header = BiasHeader(
        length=2, vocabulary=4, draws=8, pool="p", pool_digest="d", pool_size=9, prompt_lengths=(1, 2), seed=0, tokenizer="t",
        template="c", aligned={}, reference={}, openers=(1, 2), evenhand="0",
    )  # fmt: skip
    even = np.full_like(table, 0.25)
    bias = TokenBias(header, table, even, even, even)
    assert kept(bias, "all") is bias
    raised = kept(bias, "raised")
    np.testing.assert_array_equal(raised.bias, [[1, 0, 0.5, 0], [0, 3, 0, 0.75]])
    openers = kept(bias, "openers")
    np.testing.assert_array_equal(openers.bias, [[0, -2, 0.5, 0], [0, 3, -1, 0]])
    assert (raised.header.kept, openers.header.kept) == ("raised", "openers")
    assert replace(raised, header=bias.header, bias=bias.bias).digest == bias.digest
    assert len({bias.digest, raised.digest, openers.digest}) == 3
