"""The context-free shift of refusal openers: how far a model raised them over its reference on random contexts, by position.

The estimator is that of `evenhand.methods.tsdi.estimate` (arXiv 2502.02153, specification 4), with a fixed number of contexts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
"""Output positions measured (specification 5.1, proposed default)."""
FEWEST_DRAWS = 2
LEFT_OUT = "it was left out with --bias-draws 0"
CORRECTED = "the model is corrected by a bias already; see the model without it"
TOLD = 12
"""Openers told one by one at the first position."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration's shift: ``positions`` as `readable.positions_frame` gives them, and the openers one by one at position 1
    as (token, nats, standard error, mean probability). Without positions ``reason`` says why.
    """

    config: str
    reference: str = ""
    positions: pl.DataFrame | None = None
    openers: tuple[tuple[str, float, float, float], ...] = ()
    draws: int = 0
    reason: str = ""


def reference_of(context: Context, configuration: Configuration) -> str:
    """The spec of what a model was tuned from: the one named, the base under its adapter, an organism's parent, or its stage's.

    Empty where none is known.
    """
    from evenhand.engines.spec import parse_spec
    from evenhand.organisms.planted import PARENT

    own = configuration.engine.spec
    if context.config.reference:
        return context.config.reference
    spec = parse_spec(own)
    if spec.adapter is not None:
        return f"{spec.kind}/{spec.name}@{spec.revision}" if spec.revision else f"{spec.kind}/{spec.name}"
    parents: Mapping[str, str] = {str(model): str(parent) for model, parent in PARENT.items()}
    if spec.kind == "organism" and spec.name in parents:
        return f"organism/{parents[spec.name]}"
    return next((step.reference for step in steps_of(context) if step.policy == own and not step.is_total), "")


def why_not_measured(config: AuditConfig, spec: str) -> str:
    """What can be said before any engine is asked: why the shift of this model is not measured, or an empty text."""
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

    own = configuration.engine.spec
    why = why_not_measured(context.config, own)
    engine = _local(configuration.engine)
    if not why and not isinstance(engine, LocalEngine):
        why = "it is not a model on this machine"
    reference = "" if why else reference_of(context, configuration)
    if not why and not reference:
        why = "it is not known what the model was tuned from: name it with --reference"
    if not why and reference == own:
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
    """The reference: one that the run holds, the model with its adapter off, or one opened for the while."""
    from evenhand.engines.local import LocalEngine
    from evenhand.engines.spec import open_engine
    from evenhand.errors import BadInput, EngineError

    try:
        found = _local(context.open(reference))
        borrowed = True
    except KeyError:
        borrowed = False
        if engine.spec.startswith(f"{reference}+"):
            found = engine.without_adapter(reference)
        else:
            try:
                found = open_engine(reference, options=engine.options)
            except EngineError as error:
                if "no chat template" not in str(error):
                    raise
                found = open_engine(reference, options=engine.options, plain=True)  # it is given ids, never a chat
    try:
        if not isinstance(found, LocalEngine):
            raise BadInput(f"The reference {reference} is not a model on this machine.")
        yield found
    finally:
        if not borrowed:
            found.close()


def _measured(
    context: Context, configuration: Configuration, aligned: LocalEngine, reference: LocalEngine, progress: Progress
) -> Measured:
    from evenhand.methods.tsdi.estimate.contexts import Contexts, find_frame, open_pool
    from evenhand.methods.tsdi.estimate.estimator import EstimateSettings, estimate
    from evenhand.methods.tsdi.estimate.findings import positions_frame
    from evenhand.methods.tsdi.estimate.models import ModelRows
    from evenhand.methods.tsdi.estimate.pipeline import control_and_excluded
    from evenhand.methods.tsdi.estimate.tokens import opener_ids, token_space

    config, label = context.config, configuration.label
    space = token_space(aligned, reference)
    measured: list[int] = space.valid[space.measured].tolist()
    openers = opener_ids(aligned.tokenizer, set(range(space.vocabulary)) - set(measured))
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
    found = estimate(
        rows, ModelRows(reference), contexts, space, EstimateSettings(draws, target_error=None), openers=openers,
        device=device, progress=lambda what, done, total: progress(f"{label} · random contexts", done, total),
    )  # fmt: skip
    told = _one_by_one(aligned.tokenizer, found)
    return Measured(label, reference.spec, positions_frame(found, space.excluded), told, found.draws)


def _one_by_one(tokenizer: Any, found: Any) -> tuple[tuple[str, float, float, float], ...]:
    """The openers at position 1 that are likeliest under either model."""
    from evenhand.methods.tsdi.estimate.findings import token_text

    ids = list(found.openers)
    likely = [max(float(found.p_aligned[0, i]), float(found.p_reference[0, i])) for i in ids]
    order = sorted(range(len(ids)), key=lambda k: (-likely[k], ids[k]))[:TOLD]
    variance = found.opener_covariance[0].diagonal()
    return tuple(
        (token_text(tokenizer, ids[k]), float(found.opener_shift[0, k]), float(max(variance[k], 0.0) ** 0.5), likely[k])
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
            told = {
                "openers": count, "draws": one.draws, "mass_aligned": row["opener_mass_aligned"],
                "mass_reference": row["opener_mass_reference"],
                **({"tokens": [list(token) for token in one.openers]} if row["position"] == 1 else {}),
            }  # fmt: skip
            family = f"{AUDIT}|{one.config}|{SHIFT}|{among}"
            out.append(_finding(one, part, row[f"{prefix}_shift"], row[f"{prefix}_error"], family, count, told))
    return out


def _finding(
    one: Measured,
    part: dict[str, str],
    shift: float | None,
    error: float | None,
    family: str,
    count: int,
    told: dict[str, Any],
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
        standard_error=error, reason=reason, extra=told, id_parts=(one.config, SHIFT, *(f"{k}={v}" for k, v in part.items())),
    )  # fmt: skip


def _test(shift: float | None, error: float | None, family: str) -> HypothesisTest | None:
    if shift is None or not error:
        return None
    from math import erfc, sqrt

    return HypothesisTest(erfc(abs(shift / error) / sqrt(2)), "z of the mean over random contexts", family=family)
