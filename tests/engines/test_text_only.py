"""An engine that only generates says so for every other verb."""

from __future__ import annotations

import pytest

from evenhand.engines.base import TextOnly
from evenhand.errors import EngineError


class Talker(TextOnly):
    spec = "talker"


def test_each_verb_is_refused() -> None:
    talker = Talker()
    with pytest.raises(EngineError, match="talker only generates text: no score"):
        talker.plan_scores([])
    with pytest.raises(EngineError, match="no score"):
        talker.score([])
    with pytest.raises(EngineError, match="no score"):
        talker.fit("", [])
    with pytest.raises(EngineError, match="no choose"):
        talker.choose([])
