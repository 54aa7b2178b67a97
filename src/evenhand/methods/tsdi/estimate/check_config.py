"""The settings of a TSDI repair: those of the estimate, and what the corrected model is checked by."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from evenhand.methods.tsdi.estimate.config import TsdiConfig


class TsdiRepairConfig(TsdiConfig):
    """A TSDI estimate with its check: the model before and after, on the same prompts with the same random numbers."""

    heading: ClassVar[str] = "Check"

    check: tuple[Literal["safety", "service", "none"], ...] = Field(
        (),
        description="Audits of the model with and without the correction: safety, service, or none (default: both for organisms, "
        "safety if --safety-set is given).",
    )
    safety_set: tuple[str, ...] = Field(
        (), description="Prompts of the safety check: shipped (organisms), beavertails, sacpo, xstest, or files."
    )
    safety_grader: tuple[str, ...] = Field(
        (), description="Safety graders: grammar, words, judge, hf/FOLDER-or-ID#LABEL (of unsafe)."
    )
    judge: str | None = Field(None, description="Engine spec of the judge of the check.")
    repetitions: int = Field(5, ge=1, le=1000, description="Responses per item of the check.")
    limit: int | None = Field(None, ge=1, description="Maximum number of items of each check.")
    max_tokens: int = Field(256, ge=1, description="Maximum length of a response of the check, in the model's tokens.")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature of the check; 0 is greedy.")

    @property
    def checks(self) -> tuple[str, ...]:
        """The audits that are done, in order."""
        if self.check:
            return tuple(name for name in dict.fromkeys(self.check) if name != "none")
        if self.model.startswith("organism/"):
            return ("safety", "service")
        return ("safety",) if self.safety_set else ()
