"""A base model in the weights of an engine that has put an adapter on it: policy and reference from one set of weights."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

from evenhand.engines.local import LocalEngine
from evenhand.engines.spec import parse_spec
from evenhand.engines.weights import Checkpoint, adapter_off, may_be_taken_off
from evenhand.errors import BadInput

__all__ = ["BareEngine", "open_bare"]

_LOG = logging.getLogger(__name__)


def open_bare(policy: LocalEngine, spec: str) -> LocalEngine:
    """The base model of ``policy`` under ``spec``: in the policy's weights, or in its own where the adapter changed those.

    Raises BadInput where ``policy`` has no adapter.
    """
    adapter = policy.checkpoint.adapter
    if adapter is None:
        raise BadInput(f"{policy.spec} has no adapter to take off.")
    base = Checkpoint(parse_spec(spec), policy.checkpoint.folder, policy.checkpoint.commit)
    if may_be_taken_off(adapter):
        return BareEngine(policy, base)
    _LOG.info("%s cannot be taken off its base model exactly, which is loaded a second time as %s.", adapter, spec)
    return LocalEngine(base, policy.options)


class BareEngine(LocalEngine):
    """The base model of ``policy``, whose adapter is off whenever this engine works and on again after.

    Its identity is that of the base model opened for itself. Closing it leaves the policy open.
    """

    def __init__(self, policy: LocalEngine, base: Checkpoint):
        self._policy = policy
        super().__init__(base, policy.options)

    @property
    def model(self) -> Any:
        """The policy's model, loaded once for both."""
        if self._model is None:
            _ = self._identity
            self._model = self._policy.model
            self._parameters = self._policy._parameters
        return self._model

    def _inside(self) -> AbstractContextManager[None]:
        return adapter_off(self.model)
