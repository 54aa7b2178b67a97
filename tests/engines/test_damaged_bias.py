"""Damaged TSDI artefacts: each flipped bit, cut and foreign change is refused with a sentence that names the file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from evenhand.engines.token_bias import BIAS_FILE, HEADER_FILE, BiasHeader, TokenBias, read_token_bias, write_token_bias
from evenhand.errors import BadInput
from evenhand.files import read_json, write_json

L, V = 3, 12
FIELDS: dict[str, Any] = {
    "length": L, "vocabulary": V, "draws": 8, "pool": "built-in", "pool_digest": "0" * 32, "pool_size": 2000,
    "prompt_lengths": (8, 64), "seed": 3, "excluded": (0,), "tokenizer": "t", "template": "c", "aligned": {"spec": "a"},
    "reference": {"spec": "b"}, "openers": (7, 9), "achieved_error": 0.04, "evenhand": "0",
}  # fmt: skip


def artefact() -> TokenBias:
    """A small bias with numbers in every table."""
    draw = np.random.default_rng(4)
    bias = draw.normal(0, 2, (L, V)).astype(np.float32)
    bias[:, 0] = 0
    shares = draw.dirichlet(np.ones(V), L).astype(np.float32)
    return TokenBias(BiasHeader(**FIELDS), bias, np.abs(bias) / 10, shares, shares[::-1].copy())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole artefact."""
    write_token_bias(tmp_path / "bias", artefact())
    assert read_token_bias(tmp_path / "bias").checked
    return tmp_path / "bias"


@pytest.mark.parametrize("name", [BIAS_FILE, HEADER_FILE])
def test_every_flipped_bit_of_an_artefact_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    bits = list(range(0, 8 * len(data), 7)) + random.Random(2).sample(range(8 * len(data)), 200)
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(bytes(changed))
        with pytest.raises(BadInput) as found:
            read_token_bias(folder)
        assert str(folder) in str(found.value), bit
    (folder / name).write_bytes(data)
    assert read_token_bias(folder).digest == artefact().digest


def test_a_number_changed_in_a_table_is_refused(folder: Path) -> None:
    # A whole safetensors file with a finite number in the place of another: nothing but the checksum can tell.
    bias = artefact()
    text = json.loads(_header(folder))
    tables = {n: getattr(bias, n).copy() for n in ("bias", "standard_error", "p_aligned", "p_reference")}
    tables["bias"][1, 5] += 0.25
    save_file(tables, folder / BIAS_FILE, metadata={"header": json.dumps(text)})
    with pytest.raises(BadInput, match=r"bias\.safetensors: The file was edited or damaged"):
        read_token_bias(folder)


def test_damage_of_any_size_is_a_sentence(folder: Path) -> None:
    whole = {name: (folder / name).read_bytes() for name in (BIAS_FILE, HEADER_FILE)}
    for seed in range(230):
        draw = random.Random(seed)
        name = draw.choice([BIAS_FILE, HEADER_FILE])
        data = whole[name]
        at = draw.randrange(len(data))
        changed = draw.choice(
            [
                b"", data[:at], data[at:], data + b" ", data[:at] + draw.randbytes(8) + data[at + 8 :], draw.randbytes(99),
                b"\xff" * 8 + data[8:], b"[" * 100_000, b"null", data[:at] + data[at : at + 4] * 2 + data[at + 4 :],
            ]
        )  # fmt: skip
        if changed == data:
            continue
        (folder / name).write_bytes(changed)
        with pytest.raises(BadInput) as found:
            read_token_bias(folder)
        assert str(folder) in str(found.value), seed
        (folder / name).write_bytes(data)


def test_an_artefact_of_an_older_version_is_read_and_marked_as_unchecked(folder: Path) -> None:
    bias = artefact()
    text = json.loads(_header(folder))
    del text["checksum"]
    tables = {n: getattr(bias, n) for n in ("bias", "standard_error", "p_aligned", "p_reference")}
    save_file(tables, folder / BIAS_FILE, metadata={"header": json.dumps(text)})
    write_json(folder / HEADER_FILE, read_json(folder / HEADER_FILE), seal=False)
    found = read_token_bias(folder)
    assert (found.checked, found.digest) == (False, bias.digest)


def _header(folder: Path) -> str:
    from safetensors import safe_open

    with safe_open(folder / BIAS_FILE, framework="np") as file:
        return str(file.metadata()["header"])
