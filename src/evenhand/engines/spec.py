"""Spec strings: which model, on which engine, and a bias to subtract (``+tsdi:DIR?alpha=0.5&length=4``).

``open_engine`` opens what a spec names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evenhand.engines.base import Engine
from evenhand.errors import BadInput, need
from evenhand.redact import hide_urls

MARK = "+tsdi:"
_EXAMPLE = "Write it like organism/aligned+tsdi:bias or hf/./mine+tsdi:bias?alpha=0.5&length=4."


@dataclass(frozen=True, slots=True)
class Tsdi:
    """A bias to be subtracted: its folder, ``alpha`` (at least 0), and how many positions, None for all it has."""

    folder: Path
    alpha: float = 1.0
    length: int | None = None


def split_tsdi(text: str, rest: str, is_model: Callable[[str], bool]) -> tuple[str, Tsdi] | None:
    """The model before the last ``+tsdi:`` that makes sense, and the bias; None where there is no ``+tsdi:``.

    ``text`` is the whole spec, ``rest`` what follows its kind. A folder's name may hold ``+tsdi:`` and ``?``: of
    all ways to read the string, the last ``+tsdi:`` that has a model before it and a folder behind it is taken, and a
    folder with ``?`` in its name before parameters. Raises BadInput, with an example, where no reading is possible.
    """
    cuts = [match.start() for match in re.finditer(re.escape(MARK), rest)]
    if not cuts:
        return None
    for cut in reversed(cuts):
        before, after = rest[:cut], rest[cut + len(MARK) :]
        for folder, query in _readings(after):
            if (path := as_folder(folder)) and is_model(before):
                return before, _with_parameters(text, path, query)
    before, after = rest[: cuts[0]], rest[cuts[0] + len(MARK) :]
    folder = after.partition("?")[0]
    if not before:
        raise BadInput(f"'{text}' names no model before {MARK}", do=_EXAMPLE)
    if not folder:
        raise BadInput(f"'{text}' names no folder after {MARK}", do=_EXAMPLE)
    if path := as_folder(folder):  # then it is the model that does not exist, which its own reader says best
        return before, _with_parameters(text, path, after.partition("?")[2])
    raise BadInput(
        f"'{text}': there is no folder '{folder}' with a bias.",
        do=f"Estimate one with `evenhand repair tsdi`; an adapter stands before {MARK} {_EXAMPLE}",
    )


def as_folder(text: str) -> Path | None:
    """The folder of that name, ``~`` expanded; None where there is none."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # the home of nobody
        return None
    return path if text and path.is_dir() else None


def refuse_tsdi(text: str, model: str) -> None:
    """Raises BadInput where the model of an endpoint is to be corrected: its logits are out of reach from here."""
    if MARK in model:
        raise BadInput(
            f"'{text}': an endpoint gives no logits that could be corrected from here.",
            do="Serve the corrected model with `evenhand serve MODEL --tsdi DIR`, or use the approximate emulation over "
            "logit_bias.",
        )


def _readings(after: str) -> Iterator[tuple[str, str]]:
    """Folder and parameters, a folder whose name holds a question mark first."""
    yield after, ""
    for match in reversed(list(re.finditer(r"\?", after))):
        yield after[: match.start()], after[match.end() :]


def _with_parameters(text: str, folder: Path, query: str) -> Tsdi:
    given: dict[str, str] = {}
    if query:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        except ValueError:
            raise BadInput(f"'{text}': '{query}' is no list of parameters.", do=_EXAMPLE) from None
        for name, value in pairs:
            if name not in ("alpha", "length"):
                raise BadInput(f"'{text}': there is no parameter '{name}'; there are alpha and length.", do=_EXAMPLE)
            if name in given:
                raise BadInput(f"'{text}': {name} is given twice.", do=_EXAMPLE)
            given[name] = value
    return Tsdi(folder, _alpha(text, given.get("alpha", "1")), _length(text, given.get("length")))


def _alpha(text: str, value: str) -> float:
    try:
        alpha = float(value)
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha):
        raise BadInput(f"'{text}': alpha '{value}' is not a finite number.", do=_EXAMPLE)
    if alpha < 0:
        raise BadInput(
            f"'{text}': a negative alpha would make the model refuse more.",
            do=f"It can be studied in Python alone (BiasKernel, allow_negative). {_EXAMPLE}",
        )
    return alpha


def _length(text: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) >= 1):
        raise BadInput(f"'{text}': length '{value}' is not a whole number of at least 1.", do=_EXAMPLE)
    return int(value)


EXAMPLES = (
    "organism/aligned, hf/meta-llama/Llama-3.1-8B-Instruct, hf/meta-llama/Llama-3.1-8B-Instruct@main, hf//models/mine, "
    "hf/./mine+./adapter, organism/aligned+tsdi:./bias, openai/gpt-4o-mini, http://localhost:8000/v1#my-model"
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LOCAL = ("torch", "transformers", "tokenizers", "safetensors")
"""What a local model is run by."""
_REVISION = re.compile(r"[\w./-]+")


class EngineOptions(BaseModel):
    """How an engine runs a model; none of it is needed to begin with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    device: str = Field(
        "auto", description="Where a local model runs: auto (cuda if there is one), cpu, cuda, cuda:1, mps."
    )
    dtype: str = Field(
        "auto",
        pattern="^(auto|float32|bfloat16|float16)$",
        description="Numbers of a local model: auto is float32 on the CPU and the checkpoint's own elsewhere.",
    )
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Most tokens (prompt and response, all rows) in a local batch; by default from the model's size.",
    )
    plain: bool = Field(
        False, description="Join the messages with blank lines instead of a chat template (base models)."
    )
    base_url: str | None = Field(None, description="Base URL of an OpenAI-style endpoint, for openai/MODEL.")
    concurrency: int = Field(8, ge=1, le=1024, description="Requests in flight at a time to an endpoint.")
    max_tries: int = Field(6, ge=1, description="Most tries of one request to an endpoint.")
    timeout: float = Field(120.0, gt=0, description="Seconds that one try may take.")
    deadline: float = Field(600.0, gt=0, description="Seconds that one row may take over all its tries.")
    backoff: float = Field(
        0.5, gt=0, description="Seconds of the first back-off; it doubles with every try, with full jitter."
    )
    backoff_cap: float = Field(30.0, gt=0, description="Longest back-off in seconds.")


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed spec string.

    ``text`` is safe to show: it holds neither credentials nor a URL's query. ``name`` is the organism, hub id, folder
    or model name. ``tsdi`` is the bias to be subtracted, if any. ``query`` may hold secrets and is left out of the repr.
    """

    kind: str
    text: str
    name: str
    revision: str | None = None
    folder: Path | None = None
    adapter: Path | None = None
    base_url: str | None = None
    query: str = ""
    tsdi: Tsdi | None = None

    def __repr__(self) -> str:
        return f"Spec({self.text!r})"


def parse_spec(text: str) -> Spec:
    """Read a spec string.

    Raises BadInput, with examples, for anything that is not one. A folder that exists is taken before a hub id; ``+``
    and ``@`` may be part of a folder's name. ``+tsdi:DIR?alpha=0.5&length=4`` at the end of a local model's spec corrects
    it by a bias (see `split_tsdi`); a model or adapter folder that really has such a name wins.
    """
    text = text.strip()
    if text.startswith(("http://", "https://")):
        return _http(text)
    kind, slash, rest = text.partition("/")
    if not slash or not rest:
        raise BadInput(f"'{text}' does not say which model to use.", do=f"Examples: {EXAMPLES}.")
    if kind == "organism":
        return _organism(text, rest)
    if kind == "hf":
        return _hf(text, rest)
    if kind == "openai":
        refuse_tsdi(text, rest)
        return Spec(kind, text, rest)
    from evenhand.registry import ENGINES

    if kind in ENGINES:
        return Spec(kind, text, rest)
    known = ", ".join(sorted(entry.name for entry in ENGINES))
    hint = f"For a hub id or a folder write hf/{text}. " if _HUB_ID.fullmatch(text) or Path(text).is_dir() else ""
    raise BadInput(f"'{text}': there is no engine '{kind}'.", do=f"{hint}Known: {known}. Examples: {EXAMPLES}.")


def split_base_url(url: str) -> tuple[str, str]:
    """The base URL without query or fragment, and the query. Raises BadInput for anything but plain http(s)."""
    hide_urls(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput("The base URL is not an http(s) address.", do="For example http://localhost:8000/v1.")
    if "@" in parts.netloc:
        raise BadInput(
            f"The URL of {host} holds a user name or password.",
            do="Put the key into the environment: EVENHAND_API_KEY (OPENAI_API_KEY for openai/MODEL).",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), parts.query


def _http(text: str) -> Spec:
    url, hash_sign, model = text.partition("#")
    base, query = split_base_url(url)
    if not hash_sign or not model:
        raise BadInput(f"'{base}' does not name a model.", do="Write it after a #: http://localhost:8000/v1#my-model.")
    refuse_tsdi(f"{base}#{model}", model)
    return Spec("http", f"{base}#{model}", model, base_url=base, query=query)


def _organism(text: str, rest: str) -> Spec:
    name, plus, adapter = rest.partition("+")
    if not _has_adapter(adapter) and (parts := split_tsdi(text, rest, bool)):
        return replace(_organism(text, parts[0]), tsdi=parts[1])
    return Spec("organism", text, name, adapter=_adapter(text, adapter) if plus else None)


def _hf(text: str, rest: str) -> Spec:
    if folder := as_folder(rest):
        return Spec("hf", text, rest, folder=folder)
    for at in (match.start() for match in re.finditer(r"\+", rest)):
        if _has_adapter(rest[at + 1 :]) and _is_model(rest[:at]):
            return replace(_hf(text, rest[:at]), adapter=as_folder(rest[at + 1 :]))
    if parts := split_tsdi(text, rest, _may_be_corrected):
        return replace(_hf(text, parts[0]), tsdi=parts[1])
    before, plus, adapter_text = rest.rpartition("+")
    if plus and _is_model(before):
        _adapter(text, adapter_text)
    name, at_sign, revision = rest.rpartition("@")
    if at_sign and as_folder(name):
        raise BadInput(f"'{text}': a folder has no revisions.", do=f"Write hf/{name}.")
    if at_sign and _HUB_ID.fullmatch(name) and _REVISION.fullmatch(revision):
        return Spec("hf", text, name, revision=revision)
    if _HUB_ID.fullmatch(rest):
        return Spec("hf", text, rest)
    raise BadInput(f"'{text}': no such folder, and it is not a hub id.", do=f"Examples: {EXAMPLES}.")


def _adapter(text: str, folder: str) -> Path:
    path = as_folder(folder)
    if path is None or not _has_adapter(folder):
        raise BadInput(
            f"'{text}': there is no adapter in '{folder}'.",
            do="Give a folder with adapter_config.json and adapter_model.safetensors; download one from the hub first.",
        )
    return path


def _has_adapter(text: str) -> bool:
    path = as_folder(text)
    return path is not None and (path / "adapter_config.json").is_file()


def _is_model(text: str) -> bool:
    name, at_sign, revision = text.rpartition("@")
    is_revised = bool(at_sign and _HUB_ID.fullmatch(name) and _REVISION.fullmatch(revision))
    return as_folder(text) is not None or bool(_HUB_ID.fullmatch(text)) or is_revised


def _may_be_corrected(text: str) -> bool:
    """A model, or one with an adapter."""
    pluses = [match.start() for match in re.finditer(r"\+", text)]
    return _is_model(text) or any(_has_adapter(text[at + 1 :]) and _is_model(text[:at]) for at in pluses)


def open_engine(
    spec: str, *, cache: Path | None = None, options: EngineOptions | None = None, **overrides: Any
) -> Engine:
    """Open the engine of a spec string.

    Parameters
    ----------
    spec : for example ``"organism/aligned"``; see `parse_spec`.
    cache : file of the request cache; None works without one.
    options, overrides : an `EngineOptions`, and single fields of it that win over it.

    Raises BadInput for a bad spec or option, EngineError where the engine cannot be used (no chat template, no key).
    Heavy work (loading weights, the first request) is left to the first use.
    """
    from evenhand.registry import ENGINES

    hide_urls(spec)
    parsed = parse_spec(spec)
    try:
        merged = EngineOptions(**{**(options.model_dump() if options else {}), **overrides})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadInput(f"Engine options: {problems}.") from None
    if parsed.kind in ("organism", "hf"):
        need(
            "local", *_LOCAL, *(("peft",) if parsed.adapter is not None else ()), what=f"{parsed.text}, a local model,"
        )
    make = cast(Callable[[Spec, EngineOptions], Engine], ENGINES.get(parsed.kind))
    engine = make(parsed, merged)
    if cache is None:
        return engine
    from evenhand.engines.cache import CachedEngine

    return CachedEngine(engine, cache)
