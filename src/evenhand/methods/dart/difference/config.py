"""The settings of the difference audit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evenhand.settings import Settings


class DifferenceSettings(Settings):
    """Which cases are asked, and how the question is put."""

    difference_set: str = Field(
        "shipped",
        description="Cases: shipped, benchmarks (all eight), or names such as D1,N4. For your own, use --data.",
    )
    split: tuple[Literal["train", "val", "test"], ...] = Field(
        ("test",), description="Splits to ask. Cases without a split are always asked."
    )
    policy: bool = Field(False, description="Add the safety policy to the system message of the task.")
    form: tuple[Literal["analysis", "choice"], ...] = Field(
        ("analysis", "choice"),
        description="Forms of the question: analysis (with a conclusion line), choice (multiple choice).",
    )
