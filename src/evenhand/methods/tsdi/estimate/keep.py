"""Which part of a measured bias is taken off: all of it, as described, or only what refuses.

Alignment also lowers the openers of compliance whatever the prompt. Subtracting that raises them again, on harmful prompts too.
Leaving it in place is our choice; nothing of the kind was found for the paper.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evenhand.engines.token_bias import TokenBias
from evenhand.methods.tsdi.estimate.config import Keep


def kept(bias: TokenBias, keep: Keep) -> TokenBias:
    """``bias`` with zeros where nothing is to be taken off; ``raised``: b > 0 alone; ``openers``: the refusal openers alone."""
    if keep == "all":
        return bias
    table = np.maximum(bias.bias, 0.0)
    if keep == "openers":
        table = np.zeros_like(bias.bias)
        columns = list(bias.header.openers)
        table[:, columns] = bias.bias[:, columns]
    return replace(bias, header=bias.header.model_copy(update={"kept": keep}), bias=table)
