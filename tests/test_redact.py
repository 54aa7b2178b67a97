"""Secrets are replaced wherever a text repeats them, and nothing else is."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand import redact as module
from evenhand.config import make_config
from evenhand.redact import (
    HIDDEN,
    hide,
    hide_environment,
    hide_urls,
    in_force,
    public,
    public_word,
    redact,
    redact_field,
    redact_message,
    redact_row,
    redact_values,
)

KEY = 'k3y/with+"odd"&<signs> é'


def lower_hex(text: str) -> str:
    return re.sub("%..", lambda found: found[0].lower(), text)


@pytest.mark.parametrize(
    "spelled",
    [
        KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY), lower_hex(quote(KEY, safe="")), json.dumps(KEY)[1:-1],
        json.dumps(KEY, ensure_ascii=False)[1:-1], html.escape(KEY), html.escape(KEY, quote=False),
    ],
)  # fmt: skip
def test_a_secret_is_found_in_every_spelling(spelled: str) -> None:
    hide(KEY)
    assert redact(f"before {spelled} after{spelled}") == f"before {HIDDEN} after{HIDDEN}"


@given(st.text("abcXYZ0189-_.", min_size=8, max_size=40), st.text(max_size=7))
def test_a_secret_within_base64_is_found_wherever_it_begins(secret: str, before: str) -> None:
    module.forget()
    hide(f"{secret}x4")
    for coder in (base64.b64encode, base64.urlsafe_b64encode):
        coded = coder(f"{before}:{secret}x4".encode()).decode()
        assert HIDDEN in redact(f"Authorization: Basic {coded}")


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect key provided.", "the key question is", "a risky task", "key-holder and sk-learn", "Bearer authentication",
        "bearer of bad news", "a key performance indicator", "Basic understanding",
    ],
)  # fmt: skip
def test_plain_words_are_no_keys(text: str) -> None:
    assert redact_message(text) == text


def test_what_looks_like_a_key_is_replaced_in_messages_alone() -> None:
    said = "Incorrect API key provided: sk-proj-abcd****wxyz. (Authorization: Bearer abcdefghijk)"
    assert redact_message(said) == (
        "Incorrect API key provided: sk-[hidden]. (Authorization: Bearer [hidden]"  # to the next blank
    )
    assert redact_message("sent Bearer 8f14e45fceea167a") == "sent Bearer [hidden]"
    assert redact(said) == said, "a response is data: only what is known to be a key is taken out"


@pytest.mark.parametrize("short", ["test", "abc", "sesame", "Password"[:7], "12345678"])
def test_a_short_secret_is_replaced_only_where_it_is_marked(short: str) -> None:
    hide(short)
    assert redact(f"this {short} and more{short}s") == f"this {short} and more{short}s"
    for text in (f"Bearer {short}", f"api_key={short}", f'"api_key": "{short}"', f"http://h/v1?code={short}"):
        assert redact(text) == text.replace(short, HIDDEN), text
    assert redact(f"api_key={short}er") == f"api_key={short}er"
    assert redact_field(short) == HIDDEN


@pytest.mark.parametrize("placeholder", ["EMPTY", "none", "x", "", "not-needed", "lm-studio"])
def test_a_placeholder_is_no_secret(placeholder: str) -> None:
    hide(placeholder, None)
    assert not in_force()


def test_the_values_of_a_url_are_secrets_but_its_version_is_not() -> None:
    hide_urls({"judge": ["https://svc-account:p%40ssw0rd@h/v1?api-version=2024-10-01&sig=a%2Bb%2Fc9999#m"]})
    assert redact("on 2024-10-01, p@ssw0rd, p%40ssw0rd, a+b/c9999, svc-account") == (
        "on 2024-10-01, [hidden], [hidden], [hidden], [hidden]"
    )
    hide_urls("h:80/v1?api_key=withoutscheme1#m")
    assert redact("withoutscheme1") == HIDDEN
    hide_urls("organism/aligned+tsdi:bias?alpha=0.12345678&length=4")
    assert redact("alpha=0.12345678") == "alpha=0.12345678"


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "other-provider-1")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh1")
    monkeypatch.setenv("MAX_TOKENS", "something-else-1")
    hide_environment()
    assert redact("other-provider-1 hf_abcdefgh1 something-else-1") == "[hidden] [hidden] something-else-1"


@pytest.mark.parametrize(
    ("given_text", "written"),
    [
        ("http://h:80/v1/?api_key=SECRET#m", "http://h:80/v1#m"),
        ("http://user:p@ss@h/v1?a=b c&x=y#org/m:latest", "http://h/v1#org/m:latest"),
        ("http://user:pa/ss@h/v1#m", "http://h/v1#m"),
        ("sft=https://h/v1?k=S#m", "sft=https://h/v1#m"),
        ("https://h/v1?k=S", "https://h/v1"),
        ("see https://x.org/a?b=c (CC BY)", "see https://x.org/a (CC BY)"),
        ("http://[::1]:80/v1#m@x", "http://[::1]:80/v1#m@x"),
        ("http://h:80/a@b/v1#m?x", "http://h:80/a@b/v1#m?x"),
        ("organism/aligned+tsdi:./b?alpha=0.5&length=4", "organism/aligned+tsdi:./b?alpha=0.5&length=4"),
        ("what is ://?", "what is ://?"),
    ],
)
def test_a_url_is_written_without_user_and_query(given_text: str, written: str) -> None:
    assert public(given_text) == written
    assert public({"a": [given_text, 1, None], "b": (given_text,)}) == {"a": [written, 1, None], "b": (written,)}


def test_settings_stay_settings() -> None:
    config = make_config(
        models=("http://h/v1?k=S#m", "organism/aligned"), judge="http://h/v1?k=S#j", base_url="http://h?k=S"
    )
    shown = public(config)
    assert (shown.models, shown.judge, shown.base_url) == (
        ("http://h/v1#m", "organism/aligned"),
        "http://h/v1#j",
        "http://h",
    )
    assert config.judge == "http://h/v1?k=S#j"


def test_a_command_can_be_shown() -> None:
    assert public_word("--base-url=http://u:p@h/v1?api_key=S&api-version=1#m") == (
        "--base-url=http://[hidden]@h/v1?api_key=[hidden]&api-version=1#m"
    )
    assert public_word("http://h/v1?SECRETS#m") == "http://h/v1?[hidden]#m"
    assert public_word("h:80/v1?api_key=S#m") == "h:80/v1?api_key=[hidden]#m"
    assert public_word("organism/aligned+tsdi:b?alpha=1") == "organism/aligned+tsdi:b?alpha=1"


@dataclass(frozen=True, slots=True)
class Row:
    item_id: str
    text: str
    error: str = ""


def test_a_row_keeps_its_names() -> None:
    row = Row("item key-123456", "text key-123456")
    assert redact_row(row) is row
    hide("key-123456")
    assert redact_row(row) == Row("item key-123456", "text [hidden]")
    assert redact_values({"at key-123456": ["key-123456", 1, None]}) == {"at [hidden]": ["[hidden]", 1, None]}


def test_keys_of_a_mapping_that_become_alike_are_kept_apart() -> None:
    found = public({"http://h/v1?k=a#m": 1, "http://h/v1?k=b#m": 2, "http://h/v1#m": 3})
    assert found == {"http://h/v1#m": 1, "http://h/v1#m (2)": 2, "http://h/v1#m (3)": 3}


def test_names_of_files_and_words_in_a_query_are_left_alone() -> None:
    hide_urls("http://host/v1?topic=gender-bias&q=refusal+rates")
    for text in ("key-questions-2024.csv, row 3", "runs/key-results-2024", "a gender-bias audit of refusal rates"):
        assert redact_message(text) == text
    hide_urls("http://host/v1?session=a1b2c3d4e5")
    assert redact_message("it was a1b2c3d4e5") == "it was [hidden]"
