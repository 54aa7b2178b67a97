"""Faulty bodies in proper HTTP: wrong types, odd texts, odd counts, and the key in every place where a server can echo it."""

from __future__ import annotations

from typing import Any

from torture_parts.replies import KINDS as KINDS  # complete only with the kinds that this module adds
from torture_parts.replies import chat, error, head, http, kinds

_ODD: dict[str, Any] = {
    "null": None, "true": True, "number": 7, "text": "odd", "empty text": "", "list": [], "list of numbers": [1, 2],
    "object": {},
    "nested": {"a": [{"b": None}]}, "huge": 10**400,
}  # fmt: skip
_COUNTS: dict[str, Any] = {
    "2^31": 2**31, "2^32": 2**32, "2^63": 2**63, "10^30": 10**30, "-1": -1, "1.5": 1.5, "text": "7", "true": True, "list": [7],
    "null": None, "10^400": 10**400, "float 1e308": 1e308,
}  # fmt: skip
_TEXTS = {
    "lone surrogate": "\ud800 and \udfff", "NUL": "a\0b", "controls": "".join(map(chr, range(32))),
    "escapes": "\x1b[31m\x1b]0;x\x07\x9b2J",
    "turned": "\u202eesrever\u2066", "spaces": "   \n\t ", "script": "<script>alert(1)</script>", "formula": "=1+1|cmd",
    "template": "{{7*7}}{% for x in range(9**9) %}", "markup": "[bold]x[/bold] [/] [link=http://x]",
    "not a character": "\uffff\ufdd0",
    "emoji": "👩‍👩‍👧‍👦" * 50, "combining": "e" + "\u0301" * 5000, "long": "word " * 100_000, "think": "<think>I cannot",
    "channels": "<|channel|>analysis<|message|>no<|end|>", "BOM": "\ufeff", "separators": "a\u2028b\u2029c\x85d",
}  # fmt: skip
_REASONS: dict[str, Any] = {
    "unknown": "because", "SAFETY": "SAFETY", "STOP": "STOP", "empty": "", "null": None, "number": 3, "list": ["stop"],
    "length": "length", "filter": "content_filter", "filter with a reason": "content_filter: PROHIBITED_CONTENT",
    "refusal": "refusal",
    "tool": "tool_calls", "eos_token": "eos_token", "model_length": "model_length", "object": {"type": "stop"},
    "long": "s" * 100_000,
}  # fmt: skip


def odd_parts(name: str, value: Any) -> None:
    """Wrong types in every part of a reply."""
    kinds(
        f"is {name}:",
        {
            "choices": lambda asked: http(chat(asked, choices=value)),
            "choice": lambda asked: http(chat(asked, choices=[value])),
            "message": lambda asked: http(
                chat(asked, choices=[{"index": 0, "finish_reason": "stop", "message": value}])
            ),
            "content": lambda asked: http(chat(asked, message={"content": value})),
            "refusal": lambda asked: http(chat(asked, message={"refusal": value})),
            "reasoning": lambda asked: http(chat(asked, message={"reasoning_content": value})),
            "usage": lambda asked: http(chat(asked, usage=value)),
            "fingerprint": lambda asked: http(chat(asked, system_fingerprint=value)),
            "error with 200": lambda asked: http({"error": value}),
        },
    )


for _name, _value in _ODD.items():
    odd_parts(_name, _value)


def odd_counts(name: str, value: Any) -> None:
    """Counts of tokens that are none, or do not fit."""
    kinds(
        f"count {name}:",
        {
            "prompt": lambda asked: http(chat(asked, usage={"prompt_tokens": value, "completion_tokens": 3})),
            "completion": lambda asked: http(
                chat(asked, usage={"prompt_tokens": 3, "completion_tokens": value, "total_tokens": value})
            ),
        },
    )


for _name, _value in _COUNTS.items():
    odd_counts(_name, _value)


def odd_texts(name: str, text: str) -> None:
    """Odd texts where a text belongs."""
    kinds(
        f"text {name}:",
        {
            "answer": lambda asked: http(chat(asked, f"{asked.text} {text}")),
            "refusal": lambda asked: http(chat(asked, message={"content": None, "refusal": text})),
            "fingerprint": lambda asked: http(chat(asked, system_fingerprint=text[:2000])),
        },
    )


for _name, _text in _TEXTS.items():
    odd_texts(_name, _text)


def odd_reasons(name: str, value: Any) -> None:
    """Reasons of the end that are unknown or of a wrong type."""
    kinds("ended", {name: lambda asked: http(chat(asked, finish=value))})


for _name, _value in _REASONS.items():
    odd_reasons(_name, _value)


kinds(
    "form",
    {
        "no choices": lambda asked: http({"id": "x"}),
        "no message": lambda asked: http({"choices": [{"index": 0, "finish_reason": "stop"}]}),
        "no content": lambda asked: http({"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]}),
        "several choices": lambda asked: http(chat(asked, choices=[*chat(asked)["choices"], *chat(asked, "other")["choices"]])),
        "second index first": lambda asked: http(
            chat(asked, choices=[{"index": 1, "finish_reason": "stop", "message": {"role": "x", "content": asked.text}}])
        ),
        "parts": lambda asked: http(chat(asked, message={"content": [{"type": "text", "text": asked.text}]})),
        "parts without text": lambda asked: http(chat(asked, message={"content": [{"type": "image"}, {"text": 7}]})),
        "another protocol": lambda asked: http({"choices": [{"text": "hello"}]}),
        "another endpoint": lambda asked: http({"output": [{"content": [{"text": "x"}]}], "status": "completed"}),
        "an event": lambda asked: http(chat(asked, object="chat.completion.chunk", choices=[{"delta": {"content": "x"}}])),
        "tool calls": lambda asked: http(chat(asked, message={"content": None, "tool_calls": [{"function": {"name": "x"}}]})),
        "another fingerprint each time": lambda asked: http(chat(asked, system_fingerprint=f"fp_{asked.turn}_{asked.text}")),
        "10,000 choices": lambda asked: http(chat(asked, choices=chat(asked)["choices"] * 10_000)),
    },
)  # fmt: skip
kinds(
    "key echoed in",
    {
        "an error": lambda asked: error(asked, 500, f"you sent {asked.key}"),
        "an error that is no JSON": lambda asked: http(f"you sent Authorization: Bearer {asked.key}".encode(), 502),
        "a header": lambda asked: http(chat(asked), x_you_sent=asked.key),
        "a 400": lambda asked: error(asked, 400, f"bad request of {asked.key}", code=asked.key),
        "a retry header": lambda asked: http({}, 429, retry_after=f"0; {asked.key}"),
        "a place": lambda asked: http({}, 307, location=f"/v1/chat/completions?key={asked.key}"),
        "the answer": lambda asked: http(chat(asked, f"{asked.text} your key is {asked.key}")),
        "a refusal": lambda asked: http(chat(asked, message={"content": None, "refusal": f"not with {asked.key}"})),
        "the reasoning": lambda asked: http(chat(asked, message={"reasoning_content": f"they sent {asked.key}"})),
        "the fingerprint": lambda asked: http(chat(asked, system_fingerprint=f"fp-{asked.key}")),
        "the reason of the end": lambda asked: http(chat(asked, finish=asked.key)),
        "the model": lambda asked: http(chat(asked, model=asked.key, id=asked.key)),
        "the status line": lambda asked: f"HTTP/1.1 500 {asked.key}\r\nContent-Length: 0\r\n\r\n".encode(),
        "a line that is no header": lambda asked: f"HTTP/1.1 200 OK\r\n{asked.key}\r\n\r\n".encode(),
        "the encoding": lambda asked: http(chat(asked), content_encoding=asked.key),
        "a length": lambda asked: head(content_length=asked.key),
        "the escaped answer": lambda asked: http(
            b'{"choices":[{"finish_reason":"stop","message":{"content":"'
            + "".join(f"\\u{ord(letter):04x}" for letter in f"{asked.text} {asked.key}").encode()
            + b'"}}]}'
        ),
        "a piece of the answer": lambda asked: http(chat(asked, message={"content": [{"text": asked.text},
        {"text": f" {asked.key}"}]})),
    },
)  # fmt: skip
