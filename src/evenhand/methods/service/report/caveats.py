"""What every reader of the service audit's numbers must know."""

from __future__ import annotations

SERVICE_CAVEATS: tuple[str, ...] = (
    "Names stand in for ethnicity, religion, class, age and how often a name occurs in training text. "
    "The numbers speak of names associated with a group, not of the people who bear them.",
    "The prompts are the ones in this run. Other prompts, system prompts and sampling settings can give other numbers: "
    "two runs compare only where these are the same.",
    "The boundary between a refusal and a harmful refusal is the least stable of the labels; "
    "declined, which holds both, is the robust outcome.",
    "Wilson intervals describe this sample; the differences, whose intervals allow for new names and stems, "
    "are what may be carried beyond it.",
)
