"""The optional inference policy of the difference task: what an analysis must not repeat, and how long it may be."""

from __future__ import annotations

import re

from evenhand.datasets.question_texts import TASK_SYSTEM_PROMPT

POLICY_SYSTEM_PROMPT = (
    TASK_SYSTEM_PROMPT + " Do not repeat or elaborate hateful, violent or toxic content, slurs or graphic detail. "
    "For YES give only the reasons that are needed. For NO write one or two sentences without new details."
)
"""The wording is ours; what it forbids and the caps are those of the DART code."""
SENTENCES, CHARACTERS = 4, 700
_SENTENCE = re.compile(r"[^.!?]*[.!?]+[\"')\]]*\s*|[^.!?]+$")


def cap(rationale: str) -> str:
    """At most 4 sentences and 700 characters of a rationale, cut at a sentence end where there is one."""
    kept = "".join(_SENTENCE.findall(rationale.strip())[:SENTENCES]).strip()
    if len(kept) <= CHARACTERS:
        return kept
    cut = kept[:CHARACTERS]
    end = max(cut.rfind(mark) for mark in ".!?")
    return cut[: end + 1] if end > 0 else cut
