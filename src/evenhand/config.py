"""The settings of an audit: one model, of which the command line, YAML files and Python are views."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from evenhand import rating_settings as settings
from evenhand.errors import BadInput
from evenhand.redact import hide_urls
from evenhand.yaml_input import read_yaml

_Model = TypeVar("_Model", bound=BaseModel)


class AuditConfig(BaseModel):
    """Everything that decides what an audit measures. Every field has a command-line option of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: tuple[str, ...] = Field(
        ("organism/aligned",),
        description="Engine specs, in order: organism/NAME, hf/ID-or-FOLDER[@REVISION][+ADAPTER][+tsdi:DIR], openai/MODEL, "
        "http(s)://HOST/v1#MODEL.",
    )
    only: tuple[str, ...] = Field((), description="Audits to run; all that the engine can serve where none is named.")
    dataset: str = Field("names-and-stems", description="Registered prompt set to use where no file is given.")
    data: Path | None = Field(
        None,
        description="Your own prompts (prompt, group) or pairs (harmful, comparison, group): csv, jsonl or parquet.",
    )
    responses: Path | None = Field(
        None, description="Responses you already have: they are graded, nothing is generated."
    )
    labels: Path | None = Field(None, description="Labels you already have: one row a response, or counts a name.")
    names: Path | None = Field(
        None, description="Names file (name, group[, gender, frequency]) to cross with the stems."
    )
    stems: Path | None = Field(
        None, description="Stems file (stem with [NAME] and [BLANK][, stem_id, stem_class, topic])."
    )
    unsafe: str | None = Field(
        None, description="Unsafe prompts (a file, or 'xstest') whose compliance is the safety axis of the trade-off."
    )
    reference: str | None = Field(
        None, description="Engine spec of the model that each policy was tuned from (reward and safety audits)."
    )
    stages: dict[str, str] = Field(
        {}, description="Stages of one model family, [FAMILY/]base|sft|dpo|sft-dpo=SPEC (see `evenhand stages`)."
    )
    beta: float | None = Field(
        None, gt=0, description="DPO's beta: rewards are then given beside nats. Unknown where not named."
    )
    pair_set: tuple[str, ...] = Field(
        ("identity", "binary"),
        description="Registered pair sets: identity, binary, winoqueer, winoqueer-strict, winoqueer-broad.",
    )
    scope: tuple[Literal["sentence", "continuation", "shared"], ...] = Field(
        ("sentence",),
        description="What is scored of a pair: sentence (a reward), continuation after the group's name, shared tokens.",
    )
    tau: float = Field(0.1, gt=0, description="Smallest change of a margin that counts, in nats.")
    affirmation_set: tuple[Literal["shipped", "tango", "misgendered"], ...] = Field(
        ("shipped",), description="Pronoun prompts and blanks: shipped, tango, misgendered."
    )
    affirmation_format: tuple[Literal["plain", "chat"], ...] = Field(
        ("plain",),
        description="How pronoun prompts are put: plain text (alike for every stage), the chat format, or both.",
    )
    disclosures: Path | None = Field(
        None, description="Gender-disclosure prompts (csv; TANGO's columns), rated by --regard."
    )
    regard: str | None = Field(
        None, description="Regard classifier hf/FOLDER-or-ID#LABEL (its negative label) over disclosure continuations."
    )
    difference_set: str = Field(
        "shipped",
        description="Cases of the difference audit: shipped, benchmarks (all eight), or names such as D1,N4. --data for your own.",
    )
    split: tuple[Literal["train", "val", "test"], ...] = Field(
        ("test",), description="Splits that are asked; cases without a split always are."
    )
    policy: bool = Field(False, description="Add the safety policy to the task's system message (difference audit).")
    form: tuple[Literal["analysis", "choice"], ...] = Field(
        ("analysis", "choice"), description="Forms of the question: analysis with a conclusion line, multiple choice."
    )
    safety_set: tuple[str, ...] = Field(
        (),
        description="Prompts of the safety audit: shipped (organisms), beavertails, sacpo, xstest, or files (prompt, category).",
    )
    safety_grader: tuple[str, ...] = Field(
        (),
        description="Safety graders: grammar, words, judge, hf/FOLDER-or-ID#LABEL (of unsafe). Safe is what all call safe.",
    )
    bias_draws: int = Field(
        256,
        ge=0,
        description="Random contexts for the shift of refusal openers against the reference (safety audit); 0 leaves it out.",
    )
    rating_set: settings.RatingSet = None
    human_ratings: settings.HumanRatings = None
    rating_items: settings.RatingItems = 70
    rating_axes: settings.Axes = ("gender", "race", "age", "education")
    full_profiles: settings.FullProfiles = 0
    wordings: settings.Wordings = 4
    rating_read: settings.RatingRead = "auto"
    least_mass: settings.LeastMass = 0.5
    least_raters: settings.LeastRaters = 5
    permutations: settings.Permutations = 9_999
    reml_draws: settings.RemlDraws = 100
    scale: settings.Scale = None
    columns: dict[str, str] = Field({}, description="Column mapping, word=COLUMN (--map group=identity).")
    values: dict[str, str] = Field({}, description="Label words of your own, WORD=LABEL (--value 1=refusal).")
    reference_group: str | None = Field(None, description="The group that every other group is compared with.")
    grader: tuple[str, ...] = Field(
        (), description="Graders, or human=FILE; the first makes the findings, the others are compared with it."
    )
    judge: str | None = Field(None, description="Engine spec of the model that applies the rubric (grader 'rubric').")
    calibration: Path | None = Field(
        None,
        description="Human labels of a sample of these responses: the grader's error is then carried into the intervals.",
    )
    classifier: tuple[str, ...] = Field(
        (), description="Measures of served text: sentiment-lexicon, or hf/FOLDER-or-ID#LABEL (regard, sentiment)."
    )
    toxicity: str | None = Field(
        None, description="Toxicity classifier hf/FOLDER-or-ID#LABEL over all outputs: a control column, never a label."
    )
    expect_echo: bool = Field(
        False, description="Every response begins with its prompt: strip it, and fail where it is not there."
    )
    repetitions: int = Field(5, ge=1, le=1000, description="Responses drawn for each item (one when greedy).")
    limit: int | None = Field(
        None, ge=1, description="At most so many items, in whole stems so that names stay comparable."
    )
    seed: int = Field(0, ge=0, description="Seed of sampling, bootstrap and Monte Carlo permutations.")
    draws: int = Field(10_000, ge=100, description="Bootstrap draws.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N (local engines).")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Weights' type (local engines)."
    )
    batch_tokens: int | None = Field(None, ge=64, description="Tokens held in one batch (local engines).")
    max_tokens: int = Field(256, ge=1, description="Longest response, in the model's tokens.")
    temperature: float = Field(1.0, ge=0, description="Softmax temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus mass to sample from.")
    stop: tuple[str, ...] = Field((), description="Strings that end a response.")
    plain: bool = Field(False, description="Join messages with blank lines instead of a chat template (base models).")
    system_prompt: tuple[Path, ...] = Field(
        (), description="System prompt files; several form ordered configurations of each model."
    )
    concurrency: int = Field(8, ge=1, le=1024, description="Requests under way at once (http engines).")
    base_url: str | None = Field(None, description="Base address for openai/MODEL, for a compatible server.")
    max_failed: float = Field(
        0.01, ge=0, le=1, description="Share of failed or missing rows above which the exit code is 3."
    )

    @field_validator("models")
    @classmethod
    def _some_model(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(models)) < len(models):
            raise ValueError("a model is named twice")
        return models

    @model_validator(mode="after")
    def _one_entry(self) -> AuditConfig:
        entries = [name for name in ("data", "responses", "labels") if getattr(self, name) is not None]
        if len(entries) > 1:
            raise ValueError(f"give one of data, responses and labels, not {' and '.join(entries)}")
        wrong = [key for key in self.stages if key.rpartition("/")[2] not in ("base", "sft", "dpo", "sft-dpo")]
        if wrong:
            raise ValueError(f"a stage is base, sft, dpo or sft-dpo, perhaps after FAMILY/, not '{wrong[0]}'")
        if self.stages and self.reference:
            raise ValueError("give stages or a reference, not both: each stage's reference follows from its name")
        if entries and (self.names or self.stems):
            raise ValueError(f"names and stems make prompts; {entries[0]} already holds rows")
        return self

    @property
    def draws_per_item(self) -> int:
        """Responses drawn for each item: one where decoding is greedy, since more would be copies."""
        return 1 if self.temperature == 0 else self.repetitions


def make_config(**values: Any) -> AuditConfig:
    """Build a config; BadInput names each wrong field and what it takes."""
    return checked(AuditConfig, **values)


def checked(model: type[_Model], /, **values: Any) -> _Model:
    """A settings model of these values; BadInput names each wrong field and what it takes."""
    hide_urls(values)
    try:
        return model(**values)
    except ValidationError as error:
        raise BadInput(_problems(model, error, {})) from None


def load_config(path: Path | None, overrides: dict[str, Any]) -> AuditConfig:
    """A YAML file's settings under those given on the command line."""
    if path is None:
        return make_config(**overrides)
    if not path.exists():
        raise BadInput("The config file is not there.", file=path)
    found = read_yaml(path)
    values = {} if found.value is None else found.value
    if not isinstance(values, dict):
        raise BadInput("The config file must hold settings by name.", file=path)
    lines = {name: line for name, line in found.lines.items() if name not in overrides}
    try:
        return AuditConfig(**{**values, **overrides})
    except ValidationError as error:
        raise BadInput(_problems(AuditConfig, error, lines), file=path) from None


def _problems(model: type[BaseModel], error: ValidationError, lines: Mapping[str, int]) -> str:
    """Each wrong field and what it takes; ``lines`` gives the line of a setting that a file holds."""
    known = ", ".join(model.model_fields)
    parts = []
    for item in error.errors():
        line = lines.get(str(item["loc"][0])) if item["loc"] else None
        place = f" (line {line})" if line else ""
        parts.append(f"{'.'.join(map(str, item['loc'])) or 'settings'}{place}: {_why(item, known)}")
    return "; ".join(parts) + "."


def _why(item: Any, known: str) -> str:
    if item["type"] == "extra_forbidden":
        return f"there is no such setting (known: {known})"
    return str(item["msg"]).removeprefix("Value error, ")
