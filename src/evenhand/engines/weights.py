"""Finding and loading a transformers model: safetensors only, no code of its own, every weight accounted for."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from evenhand.engines.identity import read_config, weight_files
from evenhand.engines.spec import Spec
from evenhand.errors import BadInput, EngineError
from evenhand.seal import check_folder

_LOG = logging.getLogger(__name__)

_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
_KEEP_THE_BASE = ("gaussian", "eva", "orthogonal")
"""Ways to begin a LoRA that leave the base weights as they are; others (PiSSA, OLoRA) take a part out of them."""
_UNWANTED = ["original/*", "consolidated*", "onnx/*", "openvino/*", "*.gguf"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model's files lie. ``commit`` is the resolved commit of a hub id, empty for folders."""

    spec: Spec
    folder: Path
    commit: str = ""

    @property
    def adapter(self) -> Path | None:
        """The adapter's folder, if there is one."""
        return self.spec.adapter

    @property
    def tokenizer_folder(self) -> Path:
        """Training saves the tokenizer next to the adapter if it changed it; that one is then used."""
        adapter = self.adapter
        return adapter if adapter and (adapter / "tokenizer_config.json").is_file() else self.folder


def find_organism(spec: Spec) -> Checkpoint:
    """The shipped organism of that name; raises BadInput with the known names."""
    root = Path(str(files("evenhand"))) / "organisms" / "weights"
    known = sorted(path.parent.name for path in root.glob("*/config.json"))
    if spec.name not in known:
        names = ", ".join(f"organism/{name}" for name in known) or "none (run `make organisms`)"
        raise BadInput(f"There is no organism '{spec.name}'.", do=f"Known: {names}.")
    return _checked(Checkpoint(spec, root / spec.name))


def find_hf(spec: Spec) -> Checkpoint:
    """A model folder, or the snapshot of a hub id (downloaded if it is not there yet)."""
    if spec.folder is not None:
        return _checked(Checkpoint(spec, spec.folder))
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(spec.name, "config.json", revision=spec.revision), str):
        _LOG.warning("%s is not on this machine yet; downloading it can take a while.", spec.name)
    try:
        folder = Path(
            snapshot_download(spec.name, revision=spec.revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        )
    except Exception as error:  # the hub client raises many kinds; all mean that the model cannot be had
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"{spec.text}: the model cannot be had from the hub ({first}). Check the name and revision, log in "
            "for gated models, or give a folder: hf//path/to/model."
        ) from error
    return _checked(Checkpoint(spec, folder, commit=folder.name))


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    folder = checkpoint.folder
    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is not a model folder: it has no config.json.")
    if not any(path.suffix == ".safetensors" for path in weight_files(folder)):
        raise EngineError(
            f"{folder} holds no safetensors file. Weights in other formats are never unpickled: convert them, for "
            "example with save_pretrained of a current transformers."
        )
    adapter = checkpoint.adapter
    if adapter is not None and not (adapter / "adapter_model.safetensors").is_file():
        raise EngineError(
            f"{adapter} holds no adapter_model.safetensors; weights in other formats are never unpickled."
        )
    if adapter is not None:
        check_folder(adapter)
    check_plausible(folder, adapter)
    return checkpoint


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer, padding on the left. Raises EngineError where there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(checkpoint.tokenizer_folder), trust_remote_code=False, local_files_only=True, padding_side="left"
        )
    except Exception as error:  # many kinds, one meaning
        raise EngineError(f"{checkpoint.spec.text}: the tokenizer cannot be loaded: {error}") from error
    return tokenizer


def load_model(checkpoint: Checkpoint, *, device: str, dtype: str) -> Any:
    """The model, in evaluation mode on its device.

    Raises EngineError where it needs code of its own, where weights are missing or of another shape than the config
    says (transformers would fill them with random numbers), or where it does not fit the device.
    """
    from transformers import AutoModelForCausalLM

    name = checkpoint.spec.text
    try:
        with _no_progress():
            model, info = AutoModelForCausalLM.from_pretrained(
                str(checkpoint.folder),
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # many kinds, one meaning
        raise EngineError(f"{name}: the model cannot be loaded: {error}") from error
    for kind in ("missing_keys", "mismatched_keys", "error_msgs", "conversion_errors"):
        if info.get(kind):
            some = ", ".join(sorted(map(str, info[kind]))[:5])
            raise EngineError(f"{name}: the checkpoint does not fit its config ({kind.replace('_', ' ')}: {some}).")
    if checkpoint.adapter is not None:
        model = _with_adapter(model, checkpoint.adapter)
    try:
        model = model.to(device)
    except RuntimeError as error:
        raise EngineError(f"{name} cannot be put on {device}: {error}") from error
    return model.eval()


@contextmanager
def _no_progress() -> Iterator[None]:
    """Without the loading bars of transformers: progress is the command line's to show."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        config = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # many kinds, one meaning
        raise EngineError(f"{folder}: adapter_config.json cannot be read: {error}") from error
    if config.is_prompt_learning:
        raise EngineError(
            f"{folder}: a {config.peft_type.value} adapter changes the prompt, not the weights; "
            "only adapters of weights (LoRA and its kin) are supported."
        )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        except Exception as error:  # many kinds, one meaning
            raise EngineError(f"{folder}: the adapter does not fit the model: {error}") from error
    if gaps := [str(warning.message) for warning in said if "missing adapter keys" in str(warning.message)]:
        raise EngineError(f"{folder}: the adapter does not fit the model: {gaps[0][:300]}")
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as stored:
        unused = {key for key in stored.keys() if "lora_" in key} - set(get_peft_model_state_dict(adapted))  # noqa: SIM118
    if unused:
        raise EngineError(
            f"{folder}: the model has no place for these adapter weights: {', '.join(sorted(unused)[:5])}."
        )
    return adapted.get_base_model()


def may_be_taken_off(adapter: Path) -> bool:
    """Whether `adapter_off` gives the base model back exactly: not after trained biases or changed base weights."""
    config = read_config(adapter, "adapter_config.json")
    begun = config.get("init_lora_weights", True)
    return config.get("bias") in (None, "none") and (isinstance(begun, bool) or begun in _KEEP_THE_BASE)


@contextmanager
def adapter_off(model: Any, *, off: bool = True) -> Iterator[None]:
    """The model without the adapter that was put into it, for the time of the block; with ``off=False`` as it is."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)  # the second: modules and tokens trained in full
    layers: list[Any] = [module for module in model.modules() if isinstance(module, kinds)] if off else []
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


_BITS_EACH = 1
"""Fewest bits that a weight takes in any format."""

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model")
_WORDS = ("vocab_size",)
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff")
_MOST = {
    **dict.fromkeys(_LAYERS, 2_000),
    **dict.fromkeys(_WIDTH, 1_000_000),
    **dict.fromkeys(_WORDS, 20_000_000),
    **dict.fromkeys(_INNER, 10_000_000),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "num_heads"), 65_536),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 65_536),
    "head_dim": 65_536,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 1_000_000_000),
}
_PARTS = ("text_config", "vision_config", "audio_config", "decoder", "encoder")


def check_plausible(folder: Path, adapter: Path | None = None) -> None:
    """Raise EngineError for a ``config.json`` that no model with the folder's weights can have.

    Layers, widths and the vocabulary must be whole numbers in a plausible range, and the smallest model that they describe
    must fit the safetensors files at one bit a weight. The same holds for the rank of an adapter.
    """
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    file = folder / "config.json"
    config = read_config(folder)
    for place, part in _parts(config):
        _check_ranges(part, place, file)
    text = config.get("text_config")
    main = {**config, **text} if isinstance(text, dict) else config
    layers, width, words, inner = (_first(main, names) for names in (_LAYERS, _WIDTH, _WORDS, _INNER))
    for what, weights in (
        (f"{layers:,} layers of width {width:,}", layers * width),
        (f"a vocabulary of {words:,} tokens and a width of {width:,}", words * width),
        (f"a layer of {width:,} x {inner:,}", width * inner),
    ):
        if weights * _BITS_EACH > 8 * size:
            raise EngineError(
                f"{file}: the configuration names {what}, but the safetensors files hold only {size:,} bytes. "
                "The file is damaged or belongs to another model; fetch the model again."
            )
    if adapter is not None:
        _check_adapter(adapter)


def _parts(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", config
    for name in _PARTS:
        if isinstance(config.get(name), dict):
            yield f"{name}.", config[name]


def _check_ranges(config: dict[str, Any], place: str, file: Path) -> None:
    for name, most in _MOST.items():
        value = config.get(name)
        values = value if isinstance(value, list) else [value]
        for each in values:
            if each is None or isinstance(each, (list, dict)):
                continue
            if isinstance(each, bool) or not isinstance(each, int) or not 0 <= each <= most:
                raise EngineError(
                    f"{file}: '{place}{name}' is {str(each)[:40]!r}, not a whole number from 0 to {most:,}. "
                    "The file is damaged or belongs to another model; fetch the model again."
                )


def _first(config: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int)), 0)


def _check_adapter(adapter: Path) -> None:
    size = (adapter / "adapter_model.safetensors").stat().st_size
    rank = read_config(adapter, "adapter_config.json").get("r")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank <= 8 * size):
        raise EngineError(
            f"{adapter / 'adapter_config.json'}: the rank r is {str(rank)[:40]!r}, which cannot belong to weights of "
            f"{size:,} bytes. The file is damaged or belongs to another adapter."
        )
