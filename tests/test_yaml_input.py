"""Settings files: YAML 1.2 scalars, and a sentence with the line for what reads differently than it looks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evenhand.config import load_config, make_config
from evenhand.errors import BadInput
from evenhand.yaml_input import read_yaml

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{n}: &{n} [{','.join([f'*{o}'] * 10)}]\n" for o, n in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("limit: 1\nseed: 2\nlimit: 3\n", "'limit' is given more than once, first on line 1, line 3"),
        ("seed: 1\nlimit: 010\n", "010 begins with a zero; write 10, or '010' for text (in 'limit'), line 2"),
        ("limit: 1:30\n", "limit (line 1): Input should be a valid integer"),
        ("temperature: .inf\n", ".inf is not finite (in 'temperature'), line 1"),
        ("temperature: -.INF\n", "not finite"),
        ("temperature: .nan\n", "not finite"),
        ("temperature: 1e999\n", "not finite"),
        ("seed: " + "9" * 5000, "5000 digits"),
        ("a: " + "[" * 3000, "more than 20 levels deep"),
        ("- " * 3000 + "a", "more than 20 levels deep"),
        ("1: 2\n", "The name 1 is not text"),
        ("~: 2\n", "The name None is not text"),
        ("? [a]\n: 1\n", "A name must be text"),
        (BOMB, "more than 10,000 values"),
        ("a: *b\n", "no anchor before it"),
        ("a: !!python/object:os.system x\n", "is not supported"),
        ("limit: 1\n---\nlimit: 2\n", "second document begins; a settings file holds one, line 2"),
        ("a:\n\tb: 1\n", "line 2"),
        ("a: \x01\n", "not allowed, line 1"),
        ("seed: 1\ntemperature:\n", "temperature (line 2): Input should be a valid number"),
        ("- limit\n", "settings by name"),
    ],
)
def test_an_odd_settings_file_is_a_sentence_with_the_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=re.escape(why)) as caught:
        load_config(path, {})
    assert str(caught.value).startswith(f"{path}: ")


def test_settings_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes("limit: 1\ndataset: caf\u00e9".encode("latin-1"))
    with pytest.raises(BadInput, match="byte 0xe9 at position 21, line 2"):
        load_config(path, {})


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("[yes, no, on, 1:30, 2024-01-01, 0o17, 0x1F, 1e3, -0.5, true, ~, '010', 1_000, \"7\", 0]")
    assert read_yaml(path).value == [
        "yes", "no", "on", "1:30", "2024-01-01", 15, 31, 1000.0, -0.5, True, None, "010", "1_000", "7", 0,
    ]  # fmt: skip
    path.write_text("a: &x {b: 1}\nc: *x\n")
    assert read_yaml(path).value == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("name", ["temperature", "top_p", "tau", "beta", "max_failed", "least_mass"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_every_numeric_setting_is_finite(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=f"{name}: Input should be"):
        make_config(**{name: value})
