"""The two models of an estimate: which reference, one set of weights or two, and the rows of logits that each one gives."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from evenhand.engines.identity import read_config
from evenhand.engines.local import LocalEngine
from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import EngineOptions, Spec, open_engine, parse_spec
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.config import TsdiConfig

_ENDS = ("embed", "lm_head", "wte", "word_embeddings", "output_layer")
"""Parts of the names of embeddings and heads."""
SURROGATE = (
    "The reference {reference} is not what {model} was tuned from: the bias also holds instruction following, chat style and "
    'formatting, and takes off a raised "Sure" as well as a raised "Sorry".'
)


@dataclass(frozen=True, slots=True)
class Models:
    """The opened engines. ``one_weights``: the reference is the aligned model with its adapter disabled."""

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
    """The engine spec of the reference: the one given, else the known parent. Raises BadInput if neither exists."""
    if config.reference is not None:
        return config.reference
    reference = known_reference(config.model)
    if reference:
        return reference
    raise BadInput(
        f"The model that {config.model} was tuned from is not known.",
        do="Give --reference: the checkpoint that its safety stage started from, for example the SFT model; "
        "for a model of another stage also give --surrogate.",
    )


def known_reference(model: str) -> str:
    """The spec of what a model was tuned from: the base under its adapter, an organism's parent; empty if not known."""
    spec = parse_spec(model)
    return base_text(spec) if spec.adapter is not None else _parent(model) or ""


def _parent(model: str) -> str | None:
    from evenhand.organisms.planted import PARENT

    kind, _, name = model.partition("/")
    parent = cast("dict[str, str]", PARENT).get(name) if kind == "organism" else None
    return f"organism/{parent}" if parent else None


def open_models(config: TsdiConfig) -> Models:
    """Open both engines; no weights are loaded. A base model under an adapter shares the adapted model's weights.

    Raises BadInput if the adapter cannot be disabled, EngineError if a model cannot be served.
    """
    options = EngineOptions(device=config.device, dtype=config.dtype, plain=config.plain)
    aligned = cast(LocalEngine, open_engine(config.model, options=options))
    text = reference_spec(config)
    spec = aligned.checkpoint.spec
    one_weights = spec.adapter is not None and text == base_text(spec)
    if one_weights:
        assert spec.adapter is not None
        _check_adapter(spec.adapter, aligned.spec, text)
        reference = aligned.without_adapter(text)
    else:
        reference = open_reference(text, options)
    parent = _parent(config.model) if spec.adapter is None else None
    surrogate = config.surrogate or (parent is not None and text != parent)
    warnings = [SURROGATE.format(reference=text, model=config.model)] if surrogate else []
    if reference.renderer.digest != aligned.renderer.digest and not config.plain:
        warnings.append(
            f"{text} has another chat template, or none: both models were given the template of {config.model}."
        )
    precision = {engine.spec: (engine.dtype, _quantised(engine)) for engine in (aligned, reference)}
    if len(set(precision.values())) > 1:
        precisions = " and ".join(f"{name} in {' '.join(filter(None, kind))}" for name, kind in precision.items())
        warnings.append(f"The models differ in precision ({precisions}): the bias also measures that.")
    return Models(aligned, reference, surrogate, type(reference).__name__ == "BareEngine", tuple(warnings))


def _quantised(engine: LocalEngine) -> str:
    return "quantised" if read_config(engine.checkpoint.folder).get("quantization_config") else ""


def open_reference(text: str, options: EngineOptions) -> LocalEngine:
    """Open a reference. One without a chat template is opened as plain text: it is given ids, never a chat."""
    try:
        return cast(LocalEngine, open_engine(text, options=options))
    except EngineError as error:
        if "no chat template" not in str(error):
            raise
    return cast(LocalEngine, open_engine(text, options=options, plain=True))


def _check_adapter(adapter: Path, model: str, base: str) -> None:
    """Raises BadInput if disabling the adapter does not restore the base: embeddings or the head were trained."""
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
            f"The adapter of {model} also replaces embeddings or the head ({json.dumps(trained[0])}): disabling it "
            f"does not restore the base model {base}.",
            file=adapter,
            do="Merge the adapter into a separate folder, and give the base with --reference.",
        )


def check_unmerged(model: Any, name: str) -> None:
    """Raises EngineError if an adapter was merged into the weights: disabling it would change nothing."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(isinstance(module, BaseTunerLayer) and module.merged for module in model.modules()):
        raise EngineError(
            f"{name}: the adapter is merged into the weights, so it cannot be disabled. Give --reference HF-FOLDER of the base."
        )


Ids = NDArray[np.int64]
_CLOSE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Mean divergence (nats) of a row alone and in a padded batch that is rounding; half precision has more."""
_CLOSE_HALF = 0.05


class RowSource(Protocol):
    """What the estimate needs of a model. ``rows`` gives logits ``[contexts, length, width]`` that predict each context's last
    ``length`` positions: row k is seen after all but the last ``length - 1 - k`` tokens.
    """

    name: str

    def rows(self, contexts: Sequence[Ids], length: int) -> Any:
        """Logits of the last ``length`` positions, any float type."""
        ...

    def sample(self, contexts: Sequence[Ids], uniform: NDArray[np.float64], allowed: Ids) -> Ids:
        """``uniform.shape[1]`` tokens after each context, drawn from the model among ``allowed`` ids."""
        ...


class ModelRows:
    """A local engine's model, used without its own decoding. Rows are padded on the left, with mask and position ids.

    A model whose numbers a padded neighbour changes (one that keeps a state, or takes no mask) is given contexts of equal length
    only, without padding; ``padded`` is then False.
    """

    def __init__(self, engine: LocalEngine):
        self.name, self.engine = engine.spec, engine
        self.model: Any = engine.model
        torch_with_threads(sum(weight.numel() for weight in self.model.parameters()))
        self._keywords = frozenset(inspect.signature(self.model.forward).parameters)
        self.device = next(self.model.parameters()).device
        self.padded = "attention_mask" in self._keywords and not getattr(self.model, "_is_stateful", False)
        if self.padded:
            with torch.inference_mode():
                self._try_padding()

    def _try_padding(self) -> None:
        """Compare a short context alone with the same one padded next to a longer one."""
        width = int(self.model.get_input_embeddings().weight.shape[0])
        long = (np.arange(24, dtype=np.int64) * 7 + 3) % width
        short = long[:5] + 0
        alone = torch.log_softmax(self._forward([short], 2).float(), -1)[0]
        padded = torch.log_softmax(self._forward([short, long], 2).float(), -1)[0]
        far = float((alone.exp() * (alone - padded)).sum(-1).abs().max())
        self.padded = bool(far <= _CLOSE.get(next(self.model.parameters()).dtype, _CLOSE_HALF))

    def rows(self, contexts: Sequence[Ids], length: int) -> Any:
        """Logits ``[contexts, length, width]`` in the model's own type."""
        with torch.inference_mode():
            if self.padded or len({len(ids) for ids in contexts}) == 1:
                return self._forward(contexts, length)
            out: list[Any] = [None] * len(contexts)
            for size in sorted({len(ids) for ids in contexts}):
                places = [i for i, ids in enumerate(contexts) if len(ids) == size]
                logits = self._forward([contexts[i] for i in places], length)
                for row, place in enumerate(places):
                    out[place] = logits[row]
            return torch.stack(out)

    def _forward(self, contexts: Sequence[Ids], length: int) -> Any:
        inputs, width = self._inputs(contexts)
        if "use_cache" in self._keywords:
            inputs["use_cache"] = False
        if "logits_to_keep" in self._keywords:
            inputs["logits_to_keep"] = length
        return checked_rows(self._call(inputs).logits, length, width, self.name)

    def _call(self, inputs: dict[str, Any]) -> Any:
        try:
            with self.engine._inside():
                return self.model(**inputs)
        except torch.cuda.OutOfMemoryError as error:
            raise EngineError(
                f"{self.name}: {len(inputs['input_ids'])} contexts do not fit the memory; give a smaller --batch."
            ) from error

    def _inputs(self, contexts: Sequence[Ids]) -> tuple[dict[str, Any], int]:
        width = max(len(ids) for ids in contexts)
        tokens = np.zeros((len(contexts), width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, ids in enumerate(contexts):
            tokens[row, width - len(ids) :] = ids
            mask[row, width - len(ids) :] = 1
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        inputs: dict[str, Any] = {"input_ids": torch.from_numpy(tokens).to(self.device)}
        if "attention_mask" in self._keywords and not mask.all():
            inputs["attention_mask"] = torch.from_numpy(mask).to(self.device)
        if "position_ids" in self._keywords:
            inputs["position_ids"] = torch.from_numpy(positions).to(self.device)
        return inputs, width

    def sample(self, contexts: Sequence[Ids], uniform: NDArray[np.float64], allowed: Ids) -> Ids:
        """Tokens drawn one after the other, ``[contexts, uniform.shape[1]]``: number k of a context decides its token k."""
        steps = uniform.shape[1]
        tokens = np.zeros((len(contexts), steps), dtype=np.int64)
        with torch.inference_mode():
            for step in range(steps):
                so_far = [np.concatenate([ids, tokens[row, :step]]) for row, ids in enumerate(contexts)]
                tokens[:, step] = drawn(self.rows(so_far, 1)[:, -1], uniform[:, step], allowed)
        return tokens


def checked_rows(logits: Any, length: int, width: int, name: str) -> Any:
    """The last ``length`` rows of what a model returned for contexts of ``width`` tokens.

    Raises EngineError if rows are missing: some models compute only the logits of the last token.
    """
    positions = logits.shape[1]
    if positions not in (length, width):
        raise EngineError(
            f"{name} returned logits of {positions} positions; {length} were requested"
            + (": it computes only those of the last token. " if positions == 1 else ". ")
            + "TSDI needs a row for every measured position."
        )
    return logits[:, positions - length :]


def drawn(logits: Any, uniform: NDArray[np.float64], allowed: Ids) -> Ids:
    """One of the allowed ids for each row, by the inverse of the cumulative probability, in float64."""
    if logits.device.type == "mps":  # no float64 there
        logits = logits.cpu()
    ids = torch.from_numpy(allowed).to(logits.device)
    cumulative = torch.softmax(logits.index_select(-1, ids).double(), -1).cumsum(-1)
    target = torch.from_numpy(uniform).to(logits.device)[:, None] * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, target, right=True).clamp_max(len(allowed) - 1)
    chosen: Ids = ids[place[:, 0]].cpu().numpy()
    return chosen
