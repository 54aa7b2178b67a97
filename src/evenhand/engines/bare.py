"""A model in the weights of an engine that put an adapter or a bias on it: policy and reference from one set of weights."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from evenhand.engines.local import LocalEngine
from evenhand.engines.spec import Spec, parse_spec
from evenhand.engines.weights import Checkpoint, adapter_off, find_hf, find_organism, may_be_taken_off
from evenhand.errors import BadInput

_LOG = logging.getLogger(__name__)


def open_bare(policy: LocalEngine, spec: str) -> LocalEngine:
    """What ``spec`` names, in the weights of ``policy``: its model without the bias, or without the adapter and the bias.

    It gets weights of its own where the adapter changed the base model's, or where ``spec`` is another model altogether.
    Raises BadInput where ``policy`` has neither an adapter nor a bias.
    """
    adapter, policy_spec, wanted = policy.checkpoint.adapter, policy.checkpoint.spec, parse_spec(spec)
    if adapter is None and policy_spec.tsdi is None:
        raise BadInput(f"{policy.spec} has no adapter to take off.")
    base = Checkpoint(wanted, policy.checkpoint.folder, policy.checkpoint.commit)
    if wanted.tsdi is not None or _model(wanted) != _model(policy_spec) or wanted.adapter not in (None, adapter):
        return LocalEngine(find_organism(wanted) if wanted.kind == "organism" else find_hf(wanted), policy.options)
    if wanted.adapter == adapter:
        return BareEngine(policy, base, off=False)
    if adapter is not None and may_be_taken_off(adapter):
        return BareEngine(policy, base)
    _LOG.info("%s cannot be taken off its base model exactly, which is loaded a second time as %s.", adapter, spec)
    return LocalEngine(base, policy.options)


def _model(spec: Spec) -> tuple[str, str, str | None]:
    return spec.kind, spec.name, spec.revision


class BareEngine(LocalEngine):
    """The model of ``policy`` without its bias, whose adapter is off whenever this engine works and on again after.

    With ``off=False`` the adapter, if there is one, stays on. Its identity is that of the same model opened for itself.
    Closing it leaves the policy open.
    """

    def __init__(self, policy: LocalEngine, base: Checkpoint, *, off: bool = True):
        self._policy, self._off = policy, off
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
        return adapter_off(self.model) if self._off else nullcontext()
