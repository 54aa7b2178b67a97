"""The settings of the safety audit."""

from __future__ import annotations

from pydantic import Field

from evenhand.settings import Settings


class SafetySettings(Settings):
    """Which prompts are asked, who grades the answers, and whether the shift of refusal openers is measured."""

    safety_set: tuple[str, ...] = Field(
        (),
        description="Safety prompts: shipped (organisms), beavertails, sacpo, xstest, or files (prompt, category).",
    )
    safety_grader: tuple[str, ...] = Field(
        (),
        description="Safety graders: grammar, words, judge, hf/FOLDER-or-ID#LABEL (of unsafe). A response is safe if all agree.",
    )
    bias_draws: int = Field(
        256,
        ge=0,
        description="Random contexts for the shift of refusal openers from the reference model; 0 skips it.",
    )
