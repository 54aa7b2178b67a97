"""Keeps secrets out of every file and both streams: by structure in settings, by exact match everywhere else.

`public` removes user names, passwords and queries from every URL in a value, whatever the secret is: settings are written
down only after it. `redact` replaces the secrets in force in this process, wherever a text may repeat one: replies of an
endpoint, errors, tables, pages and the terminal. In force are the keys in the environment (`hide_environment`), what
engines send as a key (`hide`), and query values and user information of every URL that was given (`hide_urls`).

A secret is found as it is and URL-encoded, base64-encoded (alone or within a longer value, as in Basic authentication),
JSON-escaped (also within a script) or HTML-escaped. Text is data, and a key such as ``test`` must not delete a word from a
response: a secret of fewer than six characters, a lower-case or capitalised word of fewer than nine letters and a number of
fewer than twelve digits are replaced only where the text marks them as a credential (``Bearer test``, ``api_key=test``,
``?code=test``). Placeholders such as ``EMPTY`` or ``none`` and anything below three characters are not secrets. In settings
all of them are removed.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, quote_plus, unquote

HIDDEN = "[hidden]"
_T = TypeVar("_T")

_SHORTEST, _SHORT, _SHORT_WORD, _SHORT_NUMBER = 3, 6, 9, 12
_SHORTEST_BASE64 = 6
_PLACEHOLDERS = frozenset({
    "empty", "none", "null", "true", "false", "dummy", "placeholder", "changeme", "anonymous", "undefined", "default",
    "ollama", "lm-studio", "not-needed", "notneeded", "not-used", "unused", "no-key", "nokey", "no-key-required",
    "sk-no-key-required",
})  # fmt: skip
_HARMLESS = frozenset({
    "api-version", "api_version", "version", "v", "model", "deployment", "region", "location", "format", "alt", "stream",
    "timeout", "alpha", "length",
})  # fmt: skip
"""Query parameters that are not credentials, so their values may appear in texts."""
_CREDENTIAL = re.compile(r"key|token|secret|pass|auth|sig|code|credential", re.IGNORECASE)
_VARIABLES = re.compile(r".*_API_KEY|HF_TOKEN|HUGGING_FACE_HUB_TOKEN")

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)"
    r"(?:(?P<user>[^\s/?#]*|[^\s/?#@:\[]+:(?!\d+(?:[/?#\s]|$))[^\s?#@]*)@)?"
    r"(?P<path>[^\s?#]*)(?:\?(?P<query>[^\s#]*))?"
)
_WHOLE = re.compile(
    r"(?:[\w./-]+=)?(?P<url>[A-Za-z][A-Za-z0-9+.-]*://[^?#]*)(?:\?(?P<query>[^#]*))?(?P<rest>(?s:#.*)?)"
)
"""A setting that is one URL, perhaps after NAME=; its query may hold blanks."""
_PAIR = re.compile(r"([?&])([\w.-]+)=([^&#]*)")
_SHAPES = re.compile(
    r"\b(?P<named>Authorization[\"']?\s*[:=]\s*[\"']?(?:Bearer|Basic)\s+)[^\s\"']{6,}"
    r"|\b(?P<head>Bearer\s+)(?=[A-Za-z._~+/=-]*[0-9*])[A-Za-z0-9*._~+/=-]{8,}"
    r"|\b(?P<kind>sk-(?=[A-Za-z_-]*[0-9*])|key-(?=[A-Za-z_]*[0-9*])(?=[A-Za-z0-9*_]{16}))[A-Za-z0-9*_-]{8,}"
)
"""What a provider's key looks like; outside a header it has a digit or an asterisk, so plain words are left alone."""
_MARKED = (
    r"((?i:bearer\s+|basic\s+|(?:key|token|password|secret|authorization)[\"']?(?:\s+provided)?\s*[=:]\s*[\"']?"
    r"|[?&][\w.-]{1,40}=))"
)
_FIELDS = ("text", "reasoning", "provider_refusal", "error", "reason")
"""Fields of a row that hold what an endpoint wrote; its names (item, configuration) are ours."""


@dataclass(frozen=True, slots=True)
class _Force:
    """The secrets in force, prepared for searching."""

    secrets: frozenset[str] = frozenset()
    spellings: tuple[str, ...] = ()
    strong: re.Pattern[str] | None = None
    weak: tuple[str, ...] = ()
    marked: re.Pattern[str] | None = None


_force = _Force()
_lock = threading.Lock()


def hide(*secrets: str | None) -> None:
    """Put secrets in force for the rest of the process. Empty ones, placeholders and very short ones are left out."""
    global _force
    wanted = {secret.strip() for secret in secrets if secret}
    wanted = {each for each in wanted if len(each) >= _SHORTEST and each.lower() not in _PLACEHOLDERS}
    if wanted <= _force.secrets:
        return
    with _lock:
        _force = _prepared(_force.secrets | wanted)


def forget() -> None:
    """Put no secret in force (for tests)."""
    global _force
    with _lock:
        _force = _Force()


def in_force() -> bool:
    """Whether there is anything to be hidden."""
    return bool(_force.secrets)


def sought() -> list[str]:
    """Every spelling of a secret in force: a text that contains none of them needs no redaction."""
    return [*_force.spellings, *_force.weak]


def holds(text: str) -> bool:
    """Whether a text contains any spelling of a secret in force."""
    return any(spelling in text for spelling in sought())


def hide_environment() -> None:
    """Put every API key and hub token of the environment in force."""
    hide(*(value for name, value in os.environ.items() if _VARIABLES.fullmatch(name)))


def hide_urls(value: Any) -> None:
    """Put query values and user information of every URL in a value in force; mappings and sequences are walked.

    An address without its ``http://`` is searched for query parameters with a credential's name.
    """
    for text in _texts(value):
        if "://" not in text:
            hide(*(part for _, name, part in _PAIR.findall(text) if _CREDENTIAL.search(name)))
            continue
        whole = _WHOLE.fullmatch(text)
        queries = [whole["query"]] if whole else []
        for found in _URL.finditer(text):
            queries.append(found["query"])
            if found["user"]:
                name, _, password = found["user"].partition(":")
                hide(name, unquote(name), password, unquote(password))
        for query in filter(None, queries):
            raw = (part.partition("=") for part in query.split("&"))
            pairs = [*parse_qsl(query), *((name, part) for name, _, part in raw)]
            hide(*(part for name, part in pairs if _may_be_secret(name, part)))
            if "=" not in query:
                hide(query, unquote(query))


def _may_be_secret(name: str, value: str) -> bool:
    """Whether a query parameter may be a credential: by its name, or by a value that no words make up."""
    if _CREDENTIAL.search(name):
        return True
    mixed = any(letter.isdigit() for letter in value) and any(letter.isalpha() for letter in value)
    return mixed and len(value) >= 8 and name.lower() not in _HARMLESS


def redact(text: str) -> str:
    """The text without any secret in force; each is replaced by ``[hidden]``."""
    force = _force
    if force.strong is not None and any(spelling in text for spelling in force.spellings):
        text = force.strong.sub(HIDDEN, text)
    if force.marked is not None and any(secret in text for secret in force.weak):
        text = force.marked.sub(rf"\1{HIDDEN}", text)
    return text


def redact_field(text: str) -> str:
    """`redact` for a short label such as a fingerprint, which is also replaced where all of it is a short secret."""
    return HIDDEN if text.strip() in _force.weak else redact(text)


def redact_message(text: str) -> str:
    """`redact` for an error message, in which anything shaped like a provider's key is replaced as well."""
    return _SHAPES.sub(lambda found: (found["named"] or found["head"] or found["kind"]) + HIDDEN, redact(text))


def redact_values(value: _T) -> _T:
    """`redact` for every text in nested mappings (keys too) and sequences of plain values."""
    if not in_force():
        return value
    changed: _T = _mapped(value, redact)
    return changed


def redact_row(row: _T) -> _T:
    """A row (a frozen dataclass) in which what an endpoint wrote is redacted: text, reasoning, refusal, error, reason."""
    if not in_force() or not is_dataclass(row):
        return row
    texts = ((name, getattr(row, name, None)) for name in _FIELDS)
    changed = {name: new for name, text in texts if isinstance(text, str) and (new := redact(text)) != text}
    return replace(row, **changed) if changed else row  # type: ignore[type-var]


def public(value: _T) -> _T:
    """A value as it may be written down: no URL in it has user information or a query.

    Walks mappings (keys too), sequences and settings models, so that settings added later are covered too. Parameters
    of a local engine spec (``+tsdi:DIR?alpha=0.5``) are not part of a URL and stay.
    """
    changed: _T = _mapped(value, _public_text)
    return changed


def public_word(word: str) -> str:
    """A word of a command line that can be shown: query values and user information of a URL become ``[hidden]``."""
    if "://" not in word:
        return redact(_hidden_pairs(word, lambda name: bool(_CREDENTIAL.search(name))))
    shown = _URL.sub(_without_user, word)
    head, mark, rest = shown.partition("#")
    return redact(_hidden_pairs(head, lambda name: name.lower() not in _HARMLESS) + mark + rest)


def _without_user(found: re.Match[str]) -> str:
    """A URL that was found, its user information replaced, and its query too where that has no names."""
    query = "" if found["query"] is None else "?" + (found["query"] if "=" in found["query"] else HIDDEN)
    return f"{found['scheme']}{f'{HIDDEN}@' if found['user'] else ''}{found['path']}{query}"


def _hidden_pairs(text: str, secret: Any) -> str:
    return _PAIR.sub(lambda f: f"{f[1]}{f[2]}={HIDDEN if secret(f[2]) else f[3]}", text)


def _public_text(text: str) -> str:
    if "://" not in text:
        return text
    if whole := _WHOLE.fullmatch(text):
        name = text[: whole.start("url")]
        text = name + whole["url"].rstrip("/") + whole["rest"]
    return _URL.sub(lambda found: found["scheme"] + found["path"], text)


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return _mapped_keys(value, change)
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]
    if type(value) is tuple:
        return tuple(_mapped(part, change) for part in value)
    if hasattr(value, "model_copy"):
        held = {name: getattr(value, name) for name in type(value).model_fields}
        return value.model_copy(
            update={name: new for name, old in held.items() if (new := _mapped(old, change)) != old}
        )
    return value


def _mapped_keys(value: Mapping[Any, Any], change: Any) -> dict[Any, Any]:
    """A mapping with changed keys and values; keys that become alike are numbered, so that none is lost."""
    found: dict[Any, Any] = {}
    for key, part in value.items():
        new = name = change(key) if isinstance(key, str) else key
        times = 1
        while new in found:
            times += 1
            new = f"{name} ({times})"
        found[new] = _mapped(part, change)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _texts(part)


def _prepared(secrets: Iterable[str]) -> _Force:
    known = frozenset(secrets)
    weak = tuple(sorted(filter(_is_weak, known), key=len, reverse=True))
    spelled = {spelling for secret in known.difference(weak) for spelling in _spellings(secret)}
    ordered = tuple(sorted(spelled, key=lambda spelling: (-len(spelling), spelling)))
    return _Force(
        known,
        ordered,
        re.compile("|".join(map(re.escape, ordered))) if ordered else None,
        weak,
        re.compile(f"{_MARKED}(?:{'|'.join(map(re.escape, weak))})(?![A-Za-z0-9])") if weak else None,
    )


def _is_weak(secret: str) -> bool:
    """Whether a secret may well be a word or number of a text that has nothing to do with it."""
    if len(secret) < _SHORT or (secret.isdigit() and len(secret) < _SHORT_NUMBER):
        return True
    return secret.isalpha() and secret[1:].islower() and len(secret) < _SHORT_WORD


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it is, and as URLs, JSON, HTML and base64 spell it."""
    yield secret
    for spelled in (quote(secret, safe="", errors="replace"), quote(secret, errors="replace"),
                    quote_plus(secret, errors="replace")):  # fmt: skip
        yield spelled
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), spelled)
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", "\\/")
        yield re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", escaped)  # JSON within a page's script
    escaped = html.escape(secret)
    yield escaped
    yield html.escape(secret, quote=False)
    yield escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    raw = secret.encode("utf-8", "replace")
    # A secret begins at one of three places within three bytes; characters that it shares with its neighbours are left out.
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        coded = base64.b64encode(bytes(before) + raw).decode()[skipped : 8 * (before + len(raw)) // 6]
        if len(coded) >= _SHORTEST_BASE64:
            yield coded
            yield coded.replace("+", "-").replace("/", "_")
