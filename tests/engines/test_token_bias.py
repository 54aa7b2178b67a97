"""The bias as a file and the kernel that subtracts it: round trips, every refusal, both array libraries to the bit."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.token_bias import (
    BIAS_FILE,
    HEADER_FILE,
    BiasHeader,
    TokenBias,
    read_token_bias,
    vocabulary_digest,
    write_token_bias,
)
from evenhand.errors import BadInput
from evenhand.files import write_json

L, V = 5, 40
FIELDS: dict[str, Any] = {
    "length": L, "vocabulary": V, "draws": 8, "pool": "built-in", "pool_digest": "0" * 32, "pool_size": 2000,
    "prompt_lengths": (8, 64), "seed": 3, "excluded": (0, 1), "tokenizer": "t", "template": "c", "aligned": {"spec": "a"},
    "reference": {"spec": "b", "extra": {"device": "cpu"}}, "openers": (7, 9), "achieved_error": 0.04, "evenhand": "0",
}  # fmt: skip
TABLES = ("bias", "standard_error", "p_aligned", "p_reference")


def make(seed: int = 0, **fields: Any) -> TokenBias:
    draw = np.random.default_rng(seed)
    bias = draw.normal(0, 2, (L, V)).astype(np.float32)
    bias[:, [0, 1]] = 0
    even = np.full((L, V), 1 / V, np.float32)
    return TokenBias(BiasHeader(**{**FIELDS, **fields}), bias, np.abs(bias) / 10, even, even.copy())


def rewrite(folder: Path, header: Any = None, **tables: Any) -> None:
    """The file with another header text or other tables (None takes a table away), as a foreign program may write it."""
    with safe_open(folder / BIAS_FILE, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = file.metadata()["header"]
    found = {name: table for name, table in {**found, **tables}.items() if table is not None}
    save_file(found, folder / BIAS_FILE, metadata={"header": text if header is None else header})


def test_round_trip(tmp_path: Path) -> None:
    bias = make()
    write_token_bias(tmp_path / "a", bias)
    write_token_bias(tmp_path / "b", make())
    back = read_token_bias(tmp_path / "a")
    assert back.header == bias.header
    for name in TABLES:
        assert np.array_equal(getattr(back, name), getattr(bias, name))
    assert back.digest == bias.digest == read_token_bias(tmp_path / "b").digest
    for name in (BIAS_FILE, HEADER_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads((tmp_path / "a" / HEADER_FILE).read_text())["openers"] == [7, 9]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [BIAS_FILE, HEADER_FILE]  # nothing left behind


@pytest.mark.parametrize("what", [*TABLES, "pool"])
def test_the_digest_sees_everything(what: str) -> None:
    bias = make()
    if what == "pool":
        other = make(pool="another")
        assert np.array_equal(other.bias, bias.bias)
    else:
        changed = getattr(bias, what).copy()
        changed[2, 3] += np.float32(0.001)
        other = replace(bias, **{what: changed})
    assert other.digest != bias.digest


def test_each_file_is_written_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_token_bias(tmp_path, make())
    before = (tmp_path / BIAS_FILE).read_bytes()

    def fails(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        write_token_bias(tmp_path, make(1))
    monkeypatch.undo()
    assert (tmp_path / BIAS_FILE).read_bytes() == before
    assert read_token_bias(tmp_path).digest == make().digest


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere: There is no such folder.*evenhand repair tsdi"):
        read_token_bias(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"bias\.safetensors: The folder holds no bias"):
        read_token_bias(tmp_path)
    write_token_bias(tmp_path, make())
    (tmp_path / HEADER_FILE).unlink()
    with pytest.raises(BadInput, match=r"header\.json: The file is not there"):
        read_token_bias(tmp_path)


@pytest.mark.parametrize("raw", [b"", b"not safetensors", b"\x80\x04pickle" * 9, b"\xff" * 64])
def test_a_file_that_is_no_safetensors(tmp_path: Path, raw: bytes) -> None:
    write_token_bias(tmp_path, make())
    (tmp_path / BIAS_FILE).write_bytes(raw)
    with pytest.raises(BadInput, match=r"bias\.safetensors: The file is not a readable safetensors file"):
        read_token_bias(tmp_path)


def test_a_truncated_file(tmp_path: Path) -> None:
    write_token_bias(tmp_path, make())
    path = tmp_path / BIAS_FILE
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadInput, match="not a readable safetensors file"):
        read_token_bias(tmp_path)


def test_a_file_of_another_program(tmp_path: Path) -> None:
    write_token_bias(tmp_path, make())
    save_file({"bias": np.zeros((L, V), np.float32)}, tmp_path / BIAS_FILE)
    with pytest.raises(BadInput, match="has no header: it is not a bias of Evenhand"):
        read_token_bias(tmp_path)


def spoilt(table: str, value: float, row: int = 1, column: int = 2) -> np.ndarray[Any, Any]:
    found = getattr(make(), table).copy()
    found[row, column] = value
    return np.asarray(found)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"bias": spoilt("bias", math.nan)}, r"'bias' holds NaN or infinity \(position 2, token 2\)"),
        ({"bias": spoilt("bias", -math.inf)}, "'bias' holds NaN or infinity"),
        ({"standard_error": spoilt("standard_error", math.inf)}, "'standard_error' holds NaN or infinity"),
        ({"p_reference": spoilt("p_reference", math.nan)}, "'p_reference' holds NaN or infinity"),
        ({"standard_error": spoilt("standard_error", -0.1)}, "standard error is negative"),
        ({"p_aligned": spoilt("p_aligned", 1.5)}, "'p_aligned' holds a number that is no probability"),
        ({"p_aligned": spoilt("p_aligned", -0.5)}, "'p_aligned' holds a number that is no probability"),
        ({"bias": spoilt("bias", 0.5, 3, 1)}, "excluded token 1 is not zero"),
        ({"bias": np.zeros((L, V - 1), np.float32)}, r"'bias' has the shape \(5, 39\), the header says \(5, 40\)"),
        ({"p_aligned": np.zeros((L + 1, V), np.float32)}, r"'p_aligned' has the shape \(6, 40\)"),
        ({"bias": np.zeros((L, V), np.float64)}, "'bias' holds float64, not float32"),
        ({"standard_error": None}, "table 'standard_error' is missing"),
        ({"surprise": np.zeros(3, np.float32)}, "table 'surprise' that this version does not know"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, tables: dict[str, Any], message: str) -> None:
    write_token_bias(tmp_path, make())
    rewrite(tmp_path, **tables)
    with pytest.raises(BadInput, match=message) as caught:
        read_token_bias(tmp_path)
    assert str(tmp_path / BIAS_FILE) in str(caught.value)


def test_such_tables_are_not_written_either(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="NaN or infinity"):
        write_token_bias(tmp_path, replace(make(), bias=spoilt("bias", math.nan)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": None}, "draws: Field required"),
        ({"tokenizer": None}, "tokenizer: Field required"),
        ({"colour": 1}, "colour: Extra inputs"),
        ({"format": 2}, "format: Input should be 1"),
        ({"length": 0}, "length: .*greater than or equal to 1"),
        ({"draws": 1}, "draws: .*greater than or equal to 2"),
        ({"floor": 0.0}, "floor: .*less than 0"),
        ({"estimator": "median"}, "estimator: "),
        ({"excluded": [40]}, "excluded holds the id 40, which is not in 0 to 39"),
        ({"openers": [-1]}, "openers holds the id -1"),
        ({"prompt_lengths": [9, 8]}, "prompt_lengths 9 to 8 is not a range"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_token_bias(tmp_path, make())
    header = {**make().header.model_dump(mode="json"), **change}
    rewrite(
        tmp_path, json.dumps({name: value for name, value in header.items() if value is not None or name not in change})
    )
    with pytest.raises(BadInput, match=f"The header cannot be used .*{message}"):
        read_token_bias(tmp_path)


def test_a_header_that_is_no_json(tmp_path: Path) -> None:
    write_token_bias(tmp_path, make())
    rewrite(tmp_path, "{broken")
    with pytest.raises(BadInput, match="The header is not valid JSON"):
        read_token_bias(tmp_path)


def test_the_readable_header_must_be_the_same(tmp_path: Path) -> None:
    write_token_bias(tmp_path, make())
    path = tmp_path / HEADER_FILE
    whole = path.read_text()
    path.write_text(whole.replace('"seed": 3', '"seed": 4'))
    with pytest.raises(BadInput, match=r"header\.json: The file was edited or damaged"):
        read_token_bias(tmp_path)
    write_json(path, {**make().header.model_dump(mode="json"), "seed": 4})
    with pytest.raises(BadInput, match=r"header\.json: The header differs from the one within bias\.safetensors"):
        read_token_bias(tmp_path)
    path.write_text("{")
    with pytest.raises(BadInput, match=r"header\.json: The file is not valid JSON"):
        read_token_bias(tmp_path)


def test_vocabularies_are_told_apart(tiny: SimpleNamespace) -> None:
    first, again, other = tiny.make_tokenizer(), tiny.make_tokenizer(), tiny.make_tokenizer()
    other.add_tokens(["\U0001f994"])
    assert vocabulary_digest(first) == vocabulary_digest(again) != vocabulary_digest(other)
    swapped = SimpleNamespace(get_vocab=lambda: {"a": 1, "b": 0})
    assert vocabulary_digest(swapped) != vocabulary_digest(SimpleNamespace(get_vocab=lambda: {"a": 0, "b": 1}))


def test_reading_needs_no_torch() -> None:
    code = "import sys, evenhand.engines.token_bias; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The kernel ----------------------------------------------------------------------------------------------------------


def softmax(logits: Any) -> Any:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def logits_of(rows: int = 6, width: int = V, seed: int = 1, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).normal(0, 4, (rows, width)).astype(dtype)


def test_a_planted_bias_is_taken_off() -> None:
    c = np.random.default_rng(5).normal(0, 3, (L, V)).astype(np.float32)
    reference = logits_of(L)
    kernel = BiasKernel(c)
    corrected = kernel.apply(reference + c, np.arange(1, L + 1))
    assert np.abs(softmax(corrected) - softmax(reference)).max() < 1e-5
    shifted = BiasKernel(c + np.float32(7))  # a constant per position changes no probability
    assert np.abs(softmax(shifted.apply(reference + c, np.arange(1, L + 1))) - softmax(reference)).max() < 1e-5


def test_logits_and_log_probs_give_the_same_distribution() -> None:
    kernel, logits = BiasKernel(make(), alpha=0.7), logits_of()
    logs = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    for position in range(1, L + 1):
        a, b = kernel.apply(logits, position), kernel.apply(logs.astype(np.float32), position)
        assert np.abs(softmax(a) - softmax(b)).max() < 1e-6
        normalised = kernel.apply(logits, position, normalised=True)
        assert np.exp(normalised.astype(np.float64)).sum(-1) == pytest.approx(1, abs=1e-5)
        assert np.abs(np.exp(normalised) - softmax(a)).max() < 1e-6
        assert normalised.max() <= 0


def test_what_leaves_the_logits_alone_to_the_bit() -> None:
    import torch

    logits = logits_of()
    logits[0, :3] = (-0.0, 0.0, -np.inf)
    for array in (logits, torch.from_numpy(logits)):
        assert BiasKernel(make(), alpha=0).apply(array, 1) is array
        assert BiasKernel(make()).apply(array, L + 1) is array
        assert BiasKernel(make()).apply(array, 0) is array
        assert BiasKernel(make(), length=2).apply(array, np.array([3, 4, 5, 6, 0, -1])) is array
        assert BiasKernel(make(), length=2).apply(array, 3, normalised=True) is array
        for zero in (0.0, -0.0):
            same = BiasKernel(np.full((L, V), zero, np.float32)).apply(array, 1)
            assert np.asarray(same).tobytes() == logits.tobytes()


def test_rows_at_their_own_positions() -> None:
    bias, logits = make(), logits_of(8)
    positions = np.array([1, 5, 6, 0, 3, 3, 100, 2])
    found = BiasKernel(bias, alpha=0.5, length=4).apply(logits, positions)
    for row, position in enumerate(positions):
        wanted = logits[row] - 0.5 * bias.bias[position - 1] if 1 <= position <= 4 else logits[row]
        assert np.array_equal(found[row], wanted.astype(np.float32))
    assert np.array_equal(logits, logits_of(8))  # the argument is never written to


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("alpha", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("width", [V, V + 7])
def test_numpy_and_torch_agree_to_the_bit(dtype: str, alpha: float, width: int) -> None:
    import torch

    logits = logits_of(7, width, dtype=dtype)
    logits[2, 4:20] = -np.inf
    kernel = BiasKernel(make(), alpha=alpha)
    for positions in (1, L, [1, 2, 3, 4, 5, 6, 7], [2] * 7, [0, 0, 1, 9, 2, 9, 9]):
        ours = kernel.apply(logits, np.asarray(positions))
        theirs = kernel.apply(torch.from_numpy(logits), torch.tensor(positions))
        assert theirs.dtype == getattr(torch, dtype)
        assert ours.dtype == np.dtype(dtype)
        assert ours.tobytes() == theirs.numpy().tobytes()
        ours = kernel.apply(logits, positions, normalised=True)
        theirs = kernel.apply(torch.from_numpy(logits), positions, normalised=True)
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(name: str) -> None:
    import torch

    dtype = getattr(torch, name)
    logits, bias = torch.from_numpy(logits_of()).to(dtype), make()
    found = BiasKernel(bias, alpha=0.7).apply(logits, 2)
    wanted = (logits.float() - torch.from_numpy((0.7 * bias.bias[1].astype(np.float64)).astype(np.float32))).to(dtype)
    assert found.dtype == dtype
    assert torch.equal(found, wanted)
    if name == "float16":
        assert np.array_equal(BiasKernel(bias, alpha=0.7).apply(logits.numpy(), 2), found.numpy())


@pytest.mark.parametrize("normalised", [False, True])
def test_masked_tokens_stay_masked(normalised: bool) -> None:
    import torch

    logits = logits_of(3)
    logits[0, 5:] = -np.inf
    logits[1] = -np.inf
    for array in (logits, torch.from_numpy(logits)):
        found = np.asarray(BiasKernel(make()).apply(array, 1, normalised=normalised))
        assert np.array_equal(np.isneginf(found), np.isneginf(logits))
        assert not np.isnan(found).any()
        assert np.isneginf(found[1]).all()


def test_wider_logits_keep_their_tail() -> None:
    logits = logits_of(4, V + 9)
    found = BiasKernel(make()).apply(logits, 3)
    assert found[:, V:].tobytes() == logits[:, V:].tobytes()
    assert np.array_equal(found[:, :V], BiasKernel(make()).apply(logits[:, :V], 3))


def test_narrower_logits_fit_only_where_nothing_is_lost() -> None:
    bias = make().bias.copy()
    with pytest.raises(BadInput, match=r"logits have 36 columns, the bias has 40.*4 columns that are missing"):
        BiasKernel(bias).fits(36)
    with pytest.raises(BadInput, match="logits have 36 columns, the bias has 40"):
        BiasKernel(bias).apply(logits_of(2, 36), 1)
    bias[:, 36:] = 0
    BiasKernel(bias).fits(36)
    assert np.array_equal(BiasKernel(bias).apply(logits_of(2, 36), 1), logits_of(2, 36) - bias[0, :36])
    bias[4, 39] = 1  # beyond the positions that are corrected
    BiasKernel(bias, length=4).fits(36)
    with pytest.raises(BadInput):
        BiasKernel(bias).fits(36)


def test_the_table_of_inference_mode_serves_outside_it() -> None:
    import torch

    kernel, logits = BiasKernel(make()), torch.from_numpy(logits_of())
    with torch.inference_mode():
        inside = kernel.apply(logits, 1)
    tracked = logits.clone().requires_grad_()
    found = kernel.apply(tracked, 1)
    found.sum().backward()
    assert torch.equal(found, inside)
    mixed = kernel.apply(tracked, [1, 9, 9, 9, 9, 2])
    assert torch.equal(mixed[0], found[0])


@pytest.mark.parametrize("alpha", [math.nan, math.inf, -math.inf, "1", None, True])
def test_alpha_must_be_a_number(alpha: Any) -> None:
    with pytest.raises(BadInput, match="is not a finite number"):
        BiasKernel(make(), alpha=alpha)


def test_alpha_below_and_above_the_usual() -> None:
    with pytest.raises(BadInput, match=r"alpha = -0\.5 is negative.*allow_negative"):
        BiasKernel(make(), alpha=-0.5)
    logits = logits_of()
    found = BiasKernel(make(), alpha=-0.5, allow_negative=True).apply(logits, 1)
    assert np.array_equal(found, logits - np.float32(-0.5) * make().bias[0])
    assert BiasKernel(make()).warnings == ()
    (warning,) = BiasKernel(make(), alpha=1.5).warnings
    assert "above 1" in warning


@pytest.mark.parametrize("length", [0, -1, L + 1, 2.0, True])
def test_length_must_be_one_of_the_positions(length: Any) -> None:
    with pytest.raises(BadInput, match="The bias has 5 positions: choose 1 to 5"):
        BiasKernel(make(), length=length)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros(V, np.float32), "table of floats"),
        (np.zeros((0, V), np.float32), "table of floats"),
        (np.zeros((L, V), np.int64), "table of floats"),
        (np.full((L, V), np.nan, np.float32), "NaN or infinity"),
    ],
)
def test_a_kernel_of_something_else(table: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        BiasKernel(table)


def test_logits_and_positions_of_another_shape() -> None:
    import torch

    kernel = BiasKernel(make())
    with pytest.raises(BadInput, match=r"\[rows, width\], not \(40,\)"):
        kernel.apply(np.zeros(V, np.float32), 1)
    with pytest.raises(BadInput, match=r"shape \(2,\) for 3 rows"):
        kernel.apply(logits_of(3), [1, 2])
    with pytest.raises(BadInput, match="whole numbers, not float64"):
        kernel.apply(logits_of(2), [1.0, 2.0])
    for integers in (np.zeros((2, V), np.int64), torch.zeros((2, V), dtype=torch.long)):
        with pytest.raises(BadInput, match="Logits are floats, not int64"):
            kernel.apply(integers, 1)
    empty = np.zeros((0, V), np.float32)
    assert kernel.apply(empty, []).shape == (0, V)
    assert kernel.apply(empty, 1).shape == (0, V)


@given(
    st.integers(1, L), st.floats(0, 1), st.integers(0, 2**32 - 1), st.lists(st.integers(-3, 9), min_size=1, max_size=9)
)
def test_the_rule_for_any_input(length: int, alpha: float, seed: int, positions: list[int]) -> None:
    bias, logits = make(seed), logits_of(len(positions), seed=seed)
    found = BiasKernel(bias, alpha=alpha, length=length).apply(logits, positions)
    for row, position in enumerate(positions):
        if 1 <= position <= length:
            np.testing.assert_allclose(found[row], logits[row] - alpha * bias.bias[position - 1], rtol=1e-5, atol=1e-5)
        else:
            assert found[row].tobytes() == logits[row].tobytes()
