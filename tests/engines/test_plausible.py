"""A configuration that cannot belong to the weights is refused before a model is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evenhand.engines.spec import parse_spec
from evenhand.engines.weights import find_hf
from evenhand.errors import BadInput, EngineError


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"num_hidden_layers": 10**6}, "'num_hidden_layers' is '1000000', not a whole number from 0 to 2,000"),
        ({"num_hidden_layers": -1}, "not a whole number"),
        ({"num_hidden_layers": "2"}, "not a whole number"),
        ({"hidden_size": 900_000}, "vocabulary|layers of width"),
        ({"vocab_size": 19_000_000}, "a vocabulary of 19,000,000 tokens"),
        ({"intermediate_size": 9_999_999}, "a layer of"),
        ({"text_config": {"n_layer": 10**9}}, "'text_config.n_layer'"),
    ],
)
def test_an_implausible_config_is_refused(model_folder: Path, tmp_path: Path, change: dict[str, Any], why: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    spec = parse_spec(f"hf/{folder}")
    assert find_hf(spec).folder == folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EngineError, match=why) as caught:
        find_hf(spec)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 3000, '{"num_hidden_layers": ' + "9" * 5000 + "}", "[]", "\x00"])
def test_a_damaged_config_is_a_sentence(model_folder: Path, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "config.json").write_text(text)
    with pytest.raises(BadInput, match=r"config\.json"):
        find_hf(parse_spec(f"hf/{folder}"))
