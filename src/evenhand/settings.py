"""What settings models have in common: their base, and the fields that several of them repeat."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Settings of a method or a command: frozen, without unknown fields, infinities or NaN. Each field has a description.

    A method's settings model derives from this class and is named in its declaration; every field needs a default. The fields
    appear under the method's name in YAML files and Python, and as plain options on the command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    heading: ClassVar[str] = ""
    """Heading in the help of a command for the options of the fields that this class declares."""
    brings_prompts: ClassVar[tuple[str, ...]] = ()
    """Fields that replace the method's prompts by the user's: other methods with prompts of their own then run only if named."""


class LocalSettings(Settings):
    """Where a local engine computes, and in which type."""

    heading: ClassVar[str] = "Engines"

    device: str = Field("auto", description="Device of local engines: auto, cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Weight type of local engines: auto, float32, bfloat16 or float16."
    )


class EngineSettings(LocalSettings):
    """How local and HTTP engines are run. None of it changes what is asked."""

    heading: ClassVar[str] = "Engines"

    concurrency: int = Field(8, ge=1, le=1024, description="Maximum number of concurrent requests (HTTP engines).")
    base_url: str | None = Field(None, description="Base URL of an OpenAI-compatible server for openai/MODEL.")


class BatchSettings(EngineSettings):
    """Engines whose batches can be limited."""

    heading: ClassVar[str] = "Engines"

    batch_tokens: int | None = Field(None, ge=64, description="Maximum number of tokens in one batch (local engines).")


class DecodingSettings(Settings):
    """How many responses are drawn, and how. The defaults are the model's own distribution."""

    heading: ClassVar[str] = "Decoding"

    repetitions: int = Field(5, ge=1, le=1000, description="Responses per prompt (one if decoding is greedy).")
    max_tokens: int = Field(256, ge=1, description="Maximum length of a response, in the model's tokens.")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling mass.")

    @property
    def draws_per_item(self) -> int:
        """Responses drawn for each item: one if decoding is greedy, since more would be copies."""
        return 1 if self.temperature == 0 else self.repetitions


class StatisticsSettings(Settings):
    """Randomness and bootstrap."""

    heading: ClassVar[str] = "Statistics"

    seed: int = Field(0, ge=0, description="Random seed of sampling, bootstrap and permutations.")
    draws: int = Field(10_000, ge=100, description="Number of bootstrap draws.")


class FailureSettings(Settings):
    """When a run with failed rows ends with its own exit code."""

    heading: ClassVar[str] = "Statistics"

    max_failed: float = Field(
        0.01, ge=0, le=1, description="Maximum share of failed, missing or ungraded rows; above it the exit code is 3."
    )
