"""The context-free shift of refusal openers: how far a model raised them over its reference on random contexts, by position.

The estimator is that of `evenhand.methods.tsdi.estimate` (arXiv 2502.02153), with a fixed number of contexts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evenhand.engines.spec import MARK
from evenhand.findings.builder import build
from evenhand.methods.tsdi.config import SafetySettings
from evenhand.methods.tsdi.safety.items import AUDIT
from evenhand.records import Finding, HypothesisTest, Interval
from evenhand.runs.respond import Configuration, Progress
from evenhand.runs.stages import steps_of

if TYPE_CHECKING:
    import polars as pl

    from evenhand.config import AuditConfig
    from evenhand.engines.local import LocalEngine
    from evenhand.runs.method import Context


SHIFT, OPENERS = "opener_shift", "refusal openers"
LENGTH = 10
"""Output positions measured (chosen default)."""
FEWEST_DRAWS = 2
LEFT_OUT = "it was skipped with --bias-draws 0"
CORRECTED = "the model is already corrected by a bias; see the model without it"
LISTED = 12
"""Openers listed one by one at the first position."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration's shift: ``positions`` as returned by `positions_frame`, and the openers one by one at position 1
    as (token, nats, standard error, mean probability). Without positions ``reason`` says why.
    """

    config: str
    reference: str = ""
    positions: pl.DataFrame | None = None
    openers: tuple[tuple[str, float, float, float], ...] = ()
    draws: int = 0
    reason: str = ""


def reference_of(context: Context, configuration: Configuration) -> str:
    """The spec of the model that one was tuned from: --reference, the base under its adapter, an organism's parent, or its stage's.

    Empty if unknown.
    """
    from evenhand.methods.tsdi.estimate.models import known_reference

    spec = configuration.engine.spec
    reference = context.config.reference or known_reference(spec)
    if reference:
        return reference
    return next((step.reference for step in steps_of(context) if step.policy == spec and not step.is_total), "")


def why_not_measured(config: AuditConfig, spec: str) -> str:
    """Why the shift of this model will not be measured, as far as its spec and settings say; or an empty text."""
    if config.of(SafetySettings).bias_draws == 0:
        return LEFT_OUT
    if MARK in spec:
        return CORRECTED
    if not spec.startswith(("organism/", "hf/")):
        return "an endpoint does not give the log-probabilities of all tokens"
    return ""


def measure(context: Context, configuration: Configuration, progress: Progress) -> Measured:
    """Estimate one configuration's shift, under its own system prompt; never raises for a model that cannot be measured."""
    from evenhand.engines.local import LocalEngine
    from evenhand.errors import EvenhandError

    spec = configuration.engine.spec
    why = why_not_measured(context.config, spec)
    engine = _local(configuration.engine)
    if not why and not isinstance(engine, LocalEngine):
        why = "it is not a local model"
    reference = "" if why else reference_of(context, configuration)
    if not why and not reference:
        why = "the model that it was tuned from is not known: give it with --reference"
    if not why and reference == spec:
        why = "the model is its own reference"
    if why:
        return Measured(configuration.label, reference, reason=why)
    try:
        with _opened(context, engine, reference) as other:
            return _measured(context, configuration, engine, other, progress)
    except EvenhandError as error:
        return Measured(configuration.label, reference, reason=f"it could not be estimated: {error}")


def _local(engine: Any) -> Any:
    """The engine behind its request cache."""
    return getattr(engine, "engine", engine)


@contextmanager
def _opened(context: Context, engine: LocalEngine, reference: str) -> Iterator[LocalEngine]:
    """The reference: one that the run holds, the model with its adapter disabled, or one opened temporarily."""
    from evenhand.engines.local import LocalEngine
    from evenhand.errors import BadInput
    from evenhand.methods.tsdi.estimate.models import open_reference

    try:
        opened = _local(context.open(reference))
        borrowed = True
    except KeyError:
        borrowed = False
        if engine.spec.startswith(f"{reference}+"):
            opened = engine.without_adapter(reference)
        else:
            opened = open_reference(reference, engine.options)
    try:
        if not isinstance(opened, LocalEngine):
            raise BadInput(f"The reference {reference} is not a local model.")
        yield opened
    finally:
        if not borrowed:
            opened.close()


def _measured(
    context: Context, configuration: Configuration, aligned: LocalEngine, reference: LocalEngine, progress: Progress
) -> Measured:
    from evenhand.methods.tsdi.estimate.contexts import Contexts, find_frame, open_pool
    from evenhand.methods.tsdi.estimate.estimator import EstimateSettings, estimate
    from evenhand.methods.tsdi.estimate.findings import positions_frame
    from evenhand.methods.tsdi.estimate.models import ModelRows
    from evenhand.methods.tsdi.estimate.pipeline import control_and_excluded
    from evenhand.methods.tsdi.estimate.tokens import measured_openers, token_space

    config, label = context.config, configuration.label
    space = token_space(aligned, reference)
    openers = measured_openers(aligned.tokenizer, space)
    if not openers:
        return Measured(
            label, reference.spec, reason="no refusal opener of our list begins with a token of this tokenizer"
        )
    pool = open_pool(
        "builtin", aligned.tokenizer, valid=space.valid.tolist(), columns={},
        excluded=control_and_excluded(space, aligned, reference),
    )  # fmt: skip
    frame = find_frame(aligned.renderer, configuration.system_prompt or None)
    contexts = Contexts(pool, frame, config.seed, (8, 64), LENGTH)
    rows = ModelRows(aligned)
    device = "cpu" if rows.device.type == "mps" else rows.device
    draws = config.of(SafetySettings).bias_draws
    estimated = estimate(
        rows, ModelRows(reference), contexts, space, EstimateSettings(draws, target_error=None), openers=openers,
        device=device, progress=lambda what, done, total: progress(f"{label} · random contexts", done, total),
    )  # fmt: skip
    by_opener = _one_by_one(aligned.tokenizer, estimated)
    return Measured(label, reference.spec, positions_frame(estimated, space.excluded), by_opener, estimated.draws)


def _one_by_one(tokenizer: Any, estimated: Any) -> tuple[tuple[str, float, float, float], ...]:
    """The openers at position 1 that are most likely under either model."""
    from evenhand.methods.tsdi.estimate.findings import token_text

    ids = list(estimated.openers)
    likely = [max(float(estimated.p_aligned[0, i]), float(estimated.p_reference[0, i])) for i in ids]
    order = sorted(range(len(ids)), key=lambda k: (-likely[k], ids[k]))[:LISTED]
    variance = estimated.opener_covariance[0].diagonal()
    return tuple(
        (
            token_text(tokenizer, ids[k]),
            float(estimated.opener_shift[0, k]),
            float(max(variance[k], 0.0) ** 0.5),
            likely[k],
        )
        for k in order
    )


def opener_findings(one: Measured) -> list[Finding]:
    """One finding a position for the openers that are ever likely and one for all of them; one without an estimate if left out."""
    if one.positions is None:
        return [_finding(one, {}, None, None, "", 0, {})]
    out = []
    for row in one.positions.iter_rows(named=True):
        for among in ("likely", "all"):
            prefix = "opener" if among == "all" else "likely"
            count = row["openers" if among == "all" else "likely_openers"]
            part = {"position": str(row["position"]), "among": among}
            extra = {
                "openers": count, "draws": one.draws, "mass_aligned": row["opener_mass_aligned"],
                "mass_reference": row["opener_mass_reference"],
                **({"tokens": [list(token) for token in one.openers]} if row["position"] == 1 else {}),
            }  # fmt: skip
            family = f"{AUDIT}|{one.config}|{SHIFT}|{among}"
            out.append(_finding(one, part, row[f"{prefix}_shift"], row[f"{prefix}_error"], family, count, extra))
    return out


def _finding(
    one: Measured,
    part: dict[str, str],
    shift: float | None,
    error: float | None,
    family: str,
    count: int,
    extra: dict[str, Any],
) -> Finding:
    from evenhand.statistics.intervals import normal_quantile

    half = None if error is None else normal_quantile(0.975) * error
    interval = None
    if shift is not None and half is not None:
        interval = Interval(shift - half, shift + half, 0.95, f"normal, over {one.draws} random contexts")
    reason = one.reason or ("" if shift is not None else "no opener is ever likely here")
    return build(
        AUDIT, SHIFT, OPENERS, one.config, shift, "nats", part=part, reference=one.reference or None, interval=interval,
        test=_test(shift, error, family), n=one.draws, clusters={"contexts": one.draws, "openers": count},
        standard_error=error, reason=reason, extra=extra, id_parts=(one.config, SHIFT, *(f"{k}={v}" for k, v in part.items())),
    )  # fmt: skip


def _test(shift: float | None, error: float | None, family: str) -> HypothesisTest | None:
    if shift is None or not error:
        return None
    from math import erfc, sqrt

    return HypothesisTest(erfc(abs(shift / error) / sqrt(2)), "z of the mean over random contexts", family=family)
