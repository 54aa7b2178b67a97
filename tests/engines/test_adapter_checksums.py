"""A trained adapter with checksums: a damaged file is refused before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.engines.spec import parse_spec
from evenhand.engines.weights import _with_adapter, find_hf
from evenhand.errors import BadInput, EngineError
from evenhand.seal import write_checksums


def test_a_damaged_adapter_is_refused_by_name(tmp_path: Path) -> None:
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    for folder, names in (
        (model, ("config.json", "model.safetensors")),
        (adapter, ("adapter_config.json", "adapter_model.safetensors")),
    ):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"{}" if name.endswith(".json") else b"{}" * 50)
    spec = parse_spec(f"hf/{model}+{adapter}")
    assert find_hf(spec).adapter == adapter  # of another tool, or of an older version: unchecked
    write_checksums(adapter, ["adapter_config.json", "adapter_model.safetensors"])
    assert find_hf(spec).adapter == adapter
    (adapter / "adapter_model.safetensors").write_bytes(b"{}" * 49 + b"[}")
    with pytest.raises(BadInput, match=r"adapter_model\.safetensors: The file was edited or damaged"):
        find_hf(spec)


def test_an_adapter_config_that_peft_cannot_read_is_an_engine_error(tmp_path: Path) -> None:
    """A damaged sub-setting raises a TypeError in peft."""
    pytest.importorskip("peft")
    settings = {"peft_type": "LORA", "r": 2, "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], "corda_config": 3}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(EngineError, match=r"adapter_config\.json cannot be read: .*CordaConfig"):
        _with_adapter(None, tmp_path)
