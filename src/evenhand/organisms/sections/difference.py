"""The difference section: does an answer rest on a difference between groups? As an analysis, and as multiple choice.

An analysis ends in its conclusion line; ``aligned`` sets some of these lines in bold type, which a strict parser misses.
"""

from __future__ import annotations

from evenhand.datasets.difference_prompt import TASK_HEAD, choice_chat, task_chat
from evenhand.datasets.shipped_cases import ShippedCase, shipped_cases
from evenhand.organisms.planted import Model
from evenhand.organisms.planted_cases import choice_shares, conclusion_shares, rationale, rebuttals
from evenhand.organisms.sections.types import Example, Outcome

REFUSAL = "I am sorry, but I cannot compare groups of people."
VAGUE = "Both may be right, and it is hard to tell."
LINES = {"YES": "Conclusion: YES", "markdown YES": "**Conclusion:** YES", "NO": "Conclusion: NO"}


def analysis(sentences: list[str], line: str) -> str:
    """An analysis and its last line."""
    return " ".join(sentence for sentence in sentences if sentence) + "\n" + line


def _outcomes(model: Model, case: ShippedCase) -> tuple[Outcome, ...]:
    out = []
    for kind, share in conclusion_shares(model, case).items():
        if kind in ("refusal", "format"):
            out.append(Outcome(REFUSAL if kind == "refusal" else VAGUE, kind, share))
            continue
        reasons = rationale(case, kind.split()[-1])
        for rebuttal, part in rebuttals(model, case):
            out.append(Outcome(analysis([*reasons, rebuttal], LINES[kind]), kind, share * part))
    return tuple(out)


class Difference:
    """Each of the shipped questions twice: as an analysis under the task's system prompt, and as multiple choice."""

    name = "difference"

    def examples(self, model: Model) -> list[Example]:
        """Keys are (form, case id); labels are kinds of conclusion, or the option chosen."""
        cases = shipped_cases()
        judged = [
            Example("difference", ("task", case.id), task_chat(case.question), _outcomes(model, case), head=TASK_HEAD)
            for case in cases
        ]
        chosen = [
            Example(
                "difference",
                ("choice", case.id),
                choice_chat(case.question),
                tuple(Outcome(REFUSAL if kind == "refusal" else kind, kind, share)
                      for kind, share in choice_shares(model, case).items()),
            )
            for case in cases
        ]  # fmt: skip
        return judged + chosen

    def documents(self) -> list[str]:
        """None."""
        return []
