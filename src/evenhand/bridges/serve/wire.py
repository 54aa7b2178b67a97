"""What `evenhand serve` is set to and what clients may send: the OpenAI wire, read strictly.

A field that would be ignored is refused. Nothing heavy is imported: the command line is a view of `ServeConfig`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from evenhand.safe_text import surrogate_free
from evenhand.settings import Settings

MOST_ALPHA = 100.0
"""Far above any use; larger numbers would only leave the range of float32."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServeConfig(Settings):
    """What is served, how it is corrected, and how much one client may ask for."""

    model: str = Field(description="Local model to serve: organism/NAME or hf/ID-or-FOLDER[@REVISION][+ADAPTER].")
    tsdi: Path | None = Field(
        None,
        description="Folder of a TSDI correction (see `evenhand repair tsdi`); without it the model is served uncorrected.",
    )
    alpha: float = Field(
        1.0,
        ge=0,
        le=MOST_ALPHA,
        allow_inf_nan=False,
        description="Default strength of the correction; a request can set its own. 0 turns it off.",
    )
    length: int | None = Field(
        None, ge=1, description="Number of corrected positions of an answer (default: all of the correction)."
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on (the default accepts local connections only)."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    api_key_env: str | None = Field(
        None, description="Environment variable with the key that clients must send (default: no key is required)."
    )
    max_body: int = Field(1 << 20, ge=1024, description="Maximum size of a request body, in bytes.")
    max_tokens_limit: int = Field(
        1024, ge=1, description="Maximum number of tokens that a request may ask for, per choice."
    )
    active: int = Field(
        4, ge=1, le=256, description="Number of requests generated concurrently, one token each in turn."
    )
    queue: int = Field(32, ge=0, description="Number of requests that may wait; further ones are answered with 429.")
    header_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds a client may take to send the headers of a request.",
    )
    connections: int = Field(512, ge=1, description="Maximum number of open connections; further ones are refused.")
    device: str = Field("auto", description="Device: auto (cuda if available), cpu, cuda, cuda:1 or mps.")
    dtype: str = Field(
        "auto",
        pattern="^(auto|float32|bfloat16|float16)$",
        description="Weight type: auto is float32 on the CPU and the checkpoint's own elsewhere.",
    )


_MOST_STOPS, _LONGEST_STOP, _MOST_PROMPTS, MOST_CHOICES = 16, 1_000, 64, 16
_SHOWN = 100
_Body = TypeVar("_Body", bound=BaseModel)


class ApiError(Exception):
    """An error as a client sees it: OpenAI's shape, with the status of the reply."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None, kind: str = ""):
        self.status, self.message, self.param, self.code = status, message, param, code
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """``{"error": {"message", "type", "param", "code"}}``."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": {key: surrogate_free(value) if value else None for key, value in error.items()}}


def _wrong(message: str, code: str = "invalid_value") -> PydanticCustomError:
    return PydanticCustomError(code, "{why}", {"why": message})


def _neutral(*accepted: Any) -> AfterValidator:
    """A field that this server does not implement: only values that ask for nothing pass."""

    def check(value: Any) -> Any:
        if value is None or any(type(value) is type(one) and value == one for one in accepted):
            return value
        raise _wrong("is not supported by this server", "unsupported_parameter")

    return AfterValidator(check)


def _stops(value: Any) -> tuple[str, ...]:
    found = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(stop, str) for stop in found):
        raise _wrong("must be a string or a list of strings", "invalid_type")
    if len(found) > _MOST_STOPS:
        raise _wrong(f"holds more than {_MOST_STOPS} strings")
    if not all(0 < len(stop) <= _LONGEST_STOP for stop in found):
        raise _wrong(f"holds an empty string, or one of more than {_LONGEST_STOP:,} characters")
    return tuple(found)


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _wrong("must be a string, or a list of text parts", "invalid_type")
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise _wrong("holds a part that is no text; this server takes text alone", "unsupported_parameter")
        if extra := sorted(set(part) - {"type", "text"}):
            raise _wrong(f"holds a part with the unknown field '{extra[0][:_SHOWN]}'", "unknown_parameter")
    return "".join(part["text"] for part in value)


def _prompts(value: Any) -> tuple[str | tuple[int, ...], ...]:
    def is_ids(one: Any) -> bool:
        return isinstance(one, list) and bool(one) and all(type(token) is int for token in one)

    many = [value] if isinstance(value, str) or is_ids(value) else value
    if not isinstance(many, list) or not many or not all(isinstance(one, str) or is_ids(one) for one in many):
        raise _wrong("must be a text, a list of texts, a list of token ids, or a list of such lists", "invalid_type")
    if len(many) > _MOST_PROMPTS:
        raise _wrong(f"holds more than {_MOST_PROMPTS} prompts")
    return tuple(one if isinstance(one, str) else tuple(one) for one in many)


def _biases(value: Any) -> tuple[tuple[int, float], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise _wrong("must map token ids to numbers", "invalid_type")
    for token, number in value.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise _wrong(f"'{token[:_SHOWN]}' is not a token id")
        if isinstance(number, bool) or not isinstance(number, int | float) or not -100 <= number <= 100:
            raise _wrong(f"the bias of token {token} is not a number from -100 to 100")
    return tuple((int(token), float(number)) for token, number in value.items())


Harmless = Any
"""A field that says nothing about the answer: taken and not used."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """How a stream is reported."""

    include_usage: bool | None = Field(None, description="End the stream with the counts of tokens.")
    include_obfuscation: Harmless = Field(None, description="Not used.")


class ServeMessage(_Strict):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="Who speaks.")
    content: Annotated[str, PlainValidator(_content)] = Field(description="A text, or text parts (joined).")
    name: Annotated[Any, _neutral()] = Field(None, description="Not supported.")
    refusal: Annotated[Any, _neutral()] = Field(None, description="Not supported.")
    audio: Annotated[Any, _neutral()] = Field(None, description="Not supported.")
    annotations: Annotated[Any, _neutral([])] = Field(None, description="Not supported.")
    function_call: Annotated[Any, _neutral()] = Field(None, description="Not supported.")
    tool_calls: Annotated[Any, _neutral([])] = Field(None, description="Not supported.")
    tool_call_id: Annotated[Any, _neutral()] = Field(None, description="Not supported.")


class SharedBody(_Strict):
    """What both kinds of request have in common."""

    model: str = Field(description="The model's id, as /v1/models lists it.")
    n: int | None = Field(None, ge=1, le=MOST_CHOICES, description="Choices for each prompt.")
    temperature: float | None = Field(None, ge=0, le=2, description="Softmax temperature; 0 is greedy, 1 the default.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus mass to sample from.")
    stop: Annotated[tuple[str, ...], PlainValidator(_stops)] = Field(
        (), description="Strings that end an answer; they are not part of it."
    )
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="Seed of the draws; random if not given.")
    logit_bias: Annotated[tuple[tuple[int, float], ...], PlainValidator(_biases)] = Field(
        (), description="Token id -> number from -100 to 100 that is added to its logit at every position."
    )
    stream: bool | None = Field(None, description="Send the answer as it is written (server-sent events).")
    stream_options: StreamOptions | None = Field(None, description="How a stream is reported.")
    tsdi: bool | None = Field(None, description="Whether the answer is corrected (Evenhand's own field).")
    tsdi_alpha: float | None = Field(
        None, ge=0, le=MOST_ALPHA, description="Strength of the correction (Evenhand's own field)."
    )
    frequency_penalty: Annotated[Any, _neutral(0, 0.0)] = Field(None, description="Not supported.")
    presence_penalty: Annotated[Any, _neutral(0, 0.0)] = Field(None, description="Not supported.")
    user: Harmless = Field(None, description="Not used.")
    metadata: Harmless = Field(None, description="Not used.")
    store: Harmless = Field(None, description="Not used: nothing is stored.")
    service_tier: Harmless = Field(None, description="Not used.")
    safety_identifier: Harmless = Field(None, description="Not used.")
    prompt_cache_key: Harmless = Field(None, description="Not used.")


class ChatBody(SharedBody):
    """POST /v1/chat/completions."""

    messages: tuple[ServeMessage, ...] = Field(
        min_length=1, description="The chat; an assistant's turn last is continued."
    )
    max_tokens: int | None = Field(None, ge=1, description="Most new tokens (the older name).")
    max_completion_tokens: int | None = Field(None, ge=1, description="Most new tokens.")
    logprobs: bool | None = Field(None, description="Give the log-probability of each token.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Most probable tokens to give at each position.")
    response_format: Annotated[Any, _neutral({"type": "text"})] = Field(None, description="Text alone.")
    modalities: Annotated[Any, _neutral(["text"])] = Field(None, description="Text alone.")
    tools: Annotated[Any, _neutral([])] = Field(None, description="Not supported.")
    tool_choice: Annotated[Any, _neutral("none", "auto")] = Field(None, description="Not supported.")
    parallel_tool_calls: Harmless = Field(None, description="Not used: there are no tools.")


class CompletionBody(SharedBody):
    """POST /v1/completions."""

    prompt: Annotated[tuple[str | tuple[int, ...], ...], PlainValidator(_prompts)] = Field(
        description="Texts or token ids to continue, without a chat template."
    )
    max_tokens: int | None = Field(None, ge=0, description="Most new tokens, 16 if not given; 0 only with echo.")
    logprobs: int | None = Field(None, ge=0, le=20, description="Most probable tokens to give at each position.")
    echo: bool | None = Field(None, description="Give the prompt back before its continuation.")
    best_of: Annotated[Any, _neutral(1)] = Field(None, description="Not supported.")
    suffix: Annotated[Any, _neutral("")] = Field(None, description="Not supported.")


def read_body(kind: type[_Body], raw: bytes) -> _Body:
    """A request's body. Raises ApiError 400, naming the field, for anything that is not one."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None
    if first["type"] == "json_invalid":
        raise ApiError(400, "The body is not valid JSON.", code="invalid_json")
    if not first["loc"]:
        raise ApiError(400, "The body must be a JSON object.", code="invalid_type")
    param = ".".join(str(part) for part in first["loc"])[:_SHOWN]
    message, code = _told(first["type"], first["msg"])
    raise ApiError(400, f"{param}: {message}.", param=param, code=code)


def _told(kind: str, message: str) -> tuple[str, str]:
    words: dict[str, tuple[str, str]] = {
        "missing": ("this field is required", "missing_required_parameter"),
        "extra_forbidden": ("this server does not know this field", "unknown_parameter"),
    }
    if kind in words:
        return words[kind]
    if kind in ("unsupported_parameter", "unknown_parameter", "invalid_type", "invalid_value"):
        return message, kind
    return message[:1].lower() + message[1:], "invalid_type" if kind.endswith("_type") else "invalid_value"
