"""What reads files: for each reader a good file, and the command that reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]
_GROUPS = [(group, f"{group}{name}", stem) for group in "ab" for name in range(4) for stem in range(4)]
_LABELS = ("answer", "refusal", "partial answer", "harmful refusal")


@dataclass(frozen=True)
class Reader:
    """A table reader: its good rows, and a command in which FILE is the damaged file, and GOOD the good one as CSV."""

    name: str
    rows: Rows
    words: str
    weight: int = 2
    text: bool = False


LABELS: Rows = [
    {
        "model": "m",
        "group": g,
        "name": n,
        "stem_id": f"S{s}",
        "rep": "1",
        "label": _LABELS[(len(n) + s * 3 + ord(n[-1])) % 4],
    }
    for g, n, s in _GROUPS
]
COUNTS: Rows = [
    {"model": "m", "group": g, "name": f"{g}{n}", "answer": str(7 + n), "refusal": str(n), "partial answer": "1"}
    for g in "ab"
    for n in range(4)
]
RESPONSES: Rows = [
    {
        "model": "m", "group": g, "name": n, "stem_id": f"S{s}", "rep": "1", "prompt": f"{n} likes [BLANK] {s}.",
        "response": "I cannot help with that." if (ord(n[-1]) + s) % 3 == 0 else f"{n} likes tea.", "finish_reason": "stop",
    }
    for g, n, s in _GROUPS
]  # fmt: skip
PROMPTS: Rows = [{"group": g, "name": n, "stem": f"S{s}", "prompt": f"{n} went to [BLANK] {s}."} for g, n, s in _GROUPS]
NAMES: Rows = [
    {"name": f"Name{n}", "group": "ab"[n % 2], "gender": "fm"[n // 2 % 2], "frequency": "10"} for n in range(8)
]
STEMS: Rows = [
    {"stem": f"[NAME] went to the [BLANK] {n}.", "stem_id": f"S{n}", "stem_class": "neutral", "topic": "x"}
    for n in range(4)
]
PAIRS: Rows = [
    {"harmful": f"Some people are bad {n}.", "comparison": f"Some people are good {n}.", "group": "ab"[n % 2]}
    for n in range(8)
]
CASES: Rows = [
    {
        "id": f"c{n}", "prompt": f"Question {n}: may they differ?", "gold": ("yes", "no")[n % 2], "group": "ab"[n % 2],
        "scenario": f"s{n // 2}",
        "split": ("train", "val", "test")[n % 3],
    }
    for n in range(12)
]  # fmt: skip
SAFETY: Rows = [
    {"prompt": f"How does one do thing {n}?", "category": f"c{n % 3}", "kind": ("harmful", "harmless")[n % 2]}
    for n in range(8)
]
RATINGS: Rows = [
    {
        "item": f"i{i}", "rater": f"r{r}", "rating": ("safe", "unsafe", "unsure")[(i * r) % 3], "gender": "MW"[r % 2],
        "race": "xyz"[r % 3],
        "text": f"Text {i}", "domain": "d",
    }
    for i in range(6) for r in range(8)
]  # fmt: skip
RATED: Rows = [
    {"id": f"i{n}", "text": f"Text to rate {n}", "reply": "A reply.", "domain": "d", "gold": str(n % 2)}
    for n in range(6)
]
DRIFT: Rows = [
    {"id": f"q{n}", "prompt": f"Question {n}", "repetition": "0", "response": f"They are fine {n}.\nConclusion: yes"}
    for n in range(8)
]
TEXTS: Rows = [{"id": str(n), "text": f"how do i repair an old garden chair number {n // 2}"} for n in range(12)]
EVALUATION: Rows = [{"prompt": f"A transgender woman and her friend {n}", "label": "ok"} for n in range(6)]
TERMS: Rows = [{"term": "friend", "identity": "friend", "axis": "bond", "role": "noun", "ambiguous": "no", "note": ""}]
PREFERENCES: Rows = [
    {"prompt": f"P {n}", "chosen": f"She is a nonbinary poet {n}.", "rejected": f"No {n}."} for n in range(8)
]
MODELS: Rows = [
    {"family": "f", "stage": s, "spec": f"organism/{o}", "beta": "0.5"} for s, o in (("base", "base"), ("sft", "sft"))
]
POOL: Rows = [{"text": " ".join(f"word{n}x{k}" for k in range(60))} for n in range(8)]
_FAST = "--draws 100 --out run"
_PLAN = "--estimate --limit 8"

READERS = (
    Reader("labels", LABELS, f"audit --labels FILE --reference-group a {_FAST}", 3),
    Reader("label counts", COUNTS, f"audit --labels FILE --reference-group a {_FAST}", 6),
    Reader("responses", RESPONSES, f"audit --responses FILE --grader lexicon --reference-group a {_FAST}", 3),
    Reader(
        "calibration",
        LABELS,
        f"audit --responses GOOD --grader lexicon --calibration FILE --reference-group a {_FAST}",
        1,
    ),
    Reader("human labels", LABELS, f"audit --responses GOOD --grader human=FILE --reference-group a {_FAST}", 1),
    Reader("prompts", PROMPTS, f"audit organism/aligned --only service --data FILE {_PLAN}"),
    Reader("names", NAMES, f"audit organism/aligned --only service --names FILE {_PLAN}"),
    Reader("stems", STEMS, f"audit organism/aligned --only service --stems FILE {_PLAN}"),
    Reader("pairs", PAIRS, f"audit organism/aligned --only reward --data FILE {_PLAN}"),
    Reader("cases", CASES, f"audit organism/aligned --only difference --data FILE {_PLAN}"),
    Reader(
        "safety prompts",
        SAFETY,
        f"audit organism/aligned --only safety --safety-set FILE --safety-grader words {_PLAN}",
    ),
    Reader("unsafe prompts", SAFETY, f"audit organism/aligned --only service --unsafe FILE {_PLAN}", 1),
    Reader("ratings", RATINGS, "rate --ratings FILE --permutations 99 --reml-draws 0 --draws 100 --out run", 3),
    Reader("rated texts", RATED, "rate organism/aligned --rating-set FILE --estimate", 1),
    Reader("people's ratings", RATINGS, "rate organism/aligned --human-ratings FILE --estimate", 1),
    Reader("drift", DRIFT, f"drift GOOD FILE --judge rule {_FAST}"),
    Reader("texts", TEXTS, "corpus dedup FILE --out run", 16),
    Reader("evaluation set", EVALUATION, "datasets coverage FILE --show 1", 20),
    Reader("terms", TERMS, "datasets coverage GOOD --terms FILE", 12),
    Reader("preferences", PREFERENCES, "datasets audit-preferences FILE", 20),
    Reader("families", MODELS, "stages --models FILE --estimate", 3),
    Reader("pool", POOL, "repair tsdi organism/aligned --pool FILE --draws 8 --length 2 --check none --estimate"),
    Reader("system prompt", POOL, f"audit organism/aligned --only service --system-prompt FILE {_PLAN}", 1, text=True),
)
GOOD = {"calibration": RESPONSES, "human labels": RESPONSES, "drift": DRIFT, "terms": EVALUATION}
"""The good file beside the damaged one, of commands that read two."""

CONFIG = (
    "models: [organism/aligned]\nonly: [service]\nrepetitions: 2\nlimit: 8\nseed: 5\ndraws: 200\ntemperature: 1.0\ntop_p: 0.9\n"
    "max_tokens: 16\ncolumns: {group: identity}\n"
    "values: {'1': refusal}\nstages: {base: organism/base}\nstop: ['x']\npolicy: false\n"
    "reference_group: a\ngrader: [lexicon]\nmax_failed: 0.5\nsplit: [test]\nbeta: 0.5\ndevice: cpu\n"
)
"""A config file with a setting of every type."""


def csv_bytes(rows: Rows) -> bytes:
    """The rows as CSV."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def json_bytes(rows: Rows) -> bytes:
    """The rows as JSON Lines."""
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"
