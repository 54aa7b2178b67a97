"""The two models of an estimate: which reference, whether it is what the model was tuned from, one set of weights or two."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from evenhand.engines.identity import read_config
from evenhand.engines.local import LocalEngine
from evenhand.engines.spec import EngineOptions, Spec, open_engine, parse_spec
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.estimate.config import TsdiConfig

_ENDS = ("embed", "lm_head", "wte", "word_embeddings", "output_layer")
"""Parts of the names of embeddings and heads."""
SURROGATE = (
    "The reference {reference} is not what {model} was tuned from: the bias also holds instruction following, chat style and "
    'formatting, and takes off a raised "Sure" as well as a raised "Sorry".'
)


@dataclass(frozen=True, slots=True)
class Models:
    """The opened engines. ``one_weights``: the reference is the aligned model with its adapter off."""

    aligned: LocalEngine
    reference: LocalEngine
    surrogate: bool
    one_weights: bool
    warnings: tuple[str, ...] = ()

    def close(self) -> None:
        """Free both."""
        self.reference.close()
        self.aligned.close()


def base_text(spec: Spec) -> str:
    """The spec of a model without its adapter."""
    name = f"{spec.name}@{spec.revision}" if spec.revision else spec.name
    return f"{spec.kind}/{name}"


def reference_spec(config: TsdiConfig) -> str:
    """The engine spec of the reference: the one given, else the known parent. Raises BadInput where none is known."""
    if config.reference is not None:
        return config.reference
    spec = parse_spec(config.model)
    if spec.adapter is not None:
        return base_text(spec)
    parent = _parent(config.model)
    if parent is not None:
        return parent
    raise BadInput(
        f"It is not known what {config.model} was tuned from.",
        do="Give --reference: the checkpoint that its safety stage began with, for example the SFT model; "
        "with a model of another stage also --surrogate.",
    )


def _parent(model: str) -> str | None:
    from evenhand.organisms.planted import PARENT

    kind, _, name = model.partition("/")
    parent = cast("dict[str, str]", PARENT).get(name) if kind == "organism" else None
    return f"organism/{parent}" if parent else None


def open_models(config: TsdiConfig) -> Models:
    """Open both engines; no weights are loaded. A base model under an adapter shares the adapted model's weights.

    Raises BadInput where the adapter cannot be taken off, EngineError where a model cannot be served.
    """
    options = EngineOptions(device=config.device, dtype=config.dtype, plain=config.plain)
    aligned = cast(LocalEngine, open_engine(config.model, options=options))
    text = reference_spec(config)
    spec = aligned.checkpoint.spec
    one_weights = spec.adapter is not None and text == base_text(spec)
    if one_weights:
        assert spec.adapter is not None
        _check_adapter(spec.adapter, aligned.spec, text, explicit=config.reference is not None)
        reference = aligned.without_adapter(text)
    else:
        reference = _open_reference(text, options)
    parent = _parent(config.model) if spec.adapter is None else None
    surrogate = config.surrogate or (parent is not None and text != parent)
    warnings = [SURROGATE.format(reference=text, model=config.model)] if surrogate else []
    if reference.renderer.digest != aligned.renderer.digest and not config.plain:
        warnings.append(
            f"{text} has another chat template, or none: both models were given the template of {config.model}."
        )
    precision = {engine.spec: (engine.dtype, _quantised(engine)) for engine in (aligned, reference)}
    if len(set(precision.values())) > 1:
        told = " and ".join(f"{name} in {' '.join(filter(None, kind))}" for name, kind in precision.items())
        warnings.append(f"The models differ in precision ({told}): the bias also measures that.")
    return Models(aligned, reference, surrogate, type(reference).__name__ == "BareEngine", tuple(warnings))


def _quantised(engine: LocalEngine) -> str:
    return "quantised" if read_config(engine.checkpoint.folder).get("quantization_config") else ""


def _open_reference(text: str, options: EngineOptions) -> LocalEngine:
    """A base model without a chat template is opened all the same: it is given ids, never a chat."""
    try:
        return cast(LocalEngine, open_engine(text, options=options))
    except EngineError as error:
        if "no chat template" not in str(error):
            raise
    return cast(LocalEngine, open_engine(text, options=options, plain=True))


def _check_adapter(adapter: Path, model: str, base: str, *, explicit: bool) -> None:
    """Whether the base comes back when the adapter is off: not where embeddings or the head were trained (spec 9.12)."""
    from safetensors import safe_open

    config = read_config(adapter, "adapter_config.json")
    saved = [str(name) for name in config.get("modules_to_save") or []]
    trained = [name for name in saved if any(part in name.lower() for part in _ENDS)]
    if config.get("trainable_token_indices"):
        trained.append("trainable_token_indices")
    with safe_open(str(adapter / "adapter_model.safetensors"), framework="np") as file:
        keys = [str(key) for key in file.keys() if "lora_" not in key]  # noqa: SIM118  (not a dictionary)
    trained += [key for key in keys if any(part in key.lower() for part in _ENDS)]
    if trained:
        raise BadInput(
            f"The adapter of {model} also replaces embeddings or the head ({json.dumps(trained[0])}): with the adapter off its "
            f"base model {base} does not come back in the same weights.",
            file=adapter,
            do="Merge the adapter into a folder of its own, and give the base with --reference.",
        )


def check_unmerged(model: Any, name: str) -> None:
    """Raises EngineError where an adapter was merged into the weights: switching it off changes nothing then."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(isinstance(module, BaseTunerLayer) and module.merged for module in model.modules()):
        raise EngineError(
            f"{name}: the adapter is merged into the weights, so it cannot be taken off. Give --reference HF-FOLDER of the base."
        )
