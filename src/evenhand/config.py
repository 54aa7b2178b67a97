"""The settings of an audit: those that several methods share, and a model for each method's own.

In YAML files and Python a method's settings are nested under its name (``reward: {tau: 0.2}``); on the command line, and in
files of older versions, they are flat (``--tau 0.2``).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from evenhand import registry
from evenhand.errors import BadInput
from evenhand.redact import hide_urls
from evenhand.settings import BatchSettings, DecodingSettings, FailureSettings, Settings, StatisticsSettings
from evenhand.yaml_input import read_yaml

_Model = TypeVar("_Model", bound=BaseModel)
_Settings = TypeVar("_Settings", bound=Settings)
_LOG = logging.getLogger(__name__)
_STAGES = ("base", "sft", "dpo", "sft-dpo")


class ModelSettings(Settings):
    """Which models are audited, for what, and where they come from."""

    heading: ClassVar[str] = "Models and audits"

    models: tuple[str, ...] = Field(
        ("organism/aligned",),
        description="Engine specs, in order: organism/NAME, hf/ID-or-FOLDER[@REVISION][+ADAPTER][+tsdi:DIR], openai/MODEL, "
        "http(s)://HOST/v1#MODEL.",
    )
    only: tuple[str, ...] = Field((), description="Audits to run (default: every audit the engine supports).")
    reference: str | None = Field(
        None, description="Engine spec of the model that each policy was tuned from (reward and safety audits)."
    )
    stages: dict[str, str] = Field(
        {}, description="Stages of one model family, [FAMILY/]base|sft|dpo|sft-dpo=SPEC (see `evenhand stages`)."
    )
    beta: float | None = Field(None, gt=0, description="DPO beta. If set, rewards are reported alongside nats.")
    system_prompt: tuple[Path, ...] = Field(
        (), description="System prompt files. Each one makes a further configuration of every model."
    )
    plain: bool = Field(False, description="Join messages with blank lines, without a chat template (base models).")


class DataSettings(Settings):
    """The user's own prompts, responses or labels."""

    heading: ClassVar[str] = "Your own data"

    dataset: str = Field("names-and-stems", description="Registered prompt set to use if no file is given.")
    data: Path | None = Field(
        None, description="Prompts (prompt, group) or pairs (harmful, comparison, group): csv, jsonl or parquet."
    )
    responses: Path | None = Field(None, description="Existing responses to grade; nothing is generated.")
    labels: Path | None = Field(None, description="Existing labels: one row per response, or counts per name.")
    columns: dict[str, str] = Field({}, description="Column mapping, WORD=COLUMN (--map group=identity).")
    values: dict[str, str] = Field({}, description="Meaning of your own label words, WORD=LABEL (--value 1=refusal).")
    reference_group: str | None = Field(None, description="Group that every other group is compared with.")
    limit: int | None = Field(
        None, ge=1, description="Maximum number of items. Whole stems are kept so that names stay comparable."
    )


class GradingSettings(Settings):
    """Who grades the responses."""

    heading: ClassVar[str] = "Grading"

    grader: tuple[str, ...] = Field(
        (), description="Graders, or human=FILE. Findings come from the first; the others are compared with it."
    )
    judge: str | None = Field(None, description="Engine spec of the judge, the model that applies a rubric.")
    toxicity: str | None = Field(
        None, description="Toxicity classifier of all outputs, hf/FOLDER-or-ID#LABEL. A control, never a label."
    )
    expect_echo: bool = Field(
        False, description="Responses repeat their prompt: remove it, and fail if one does not start with it."
    )


class AuditDecoding(DecodingSettings):
    """How responses are drawn."""

    heading: ClassVar[str] = "Decoding"

    stop: tuple[str, ...] = Field((), description="Strings that end a response.")


class AuditConfig(
    ModelSettings, DataSettings, GradingSettings, AuditDecoding, BatchSettings, StatisticsSettings, FailureSettings
):
    """Everything that decides what an audit measures. Every field has a command-line option of the same name.

    `make_config` and `load_config` return this model with a field for each method's own settings; `of` is the typed way to them.
    """

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
        wrong = [key for key in self.stages if key.rpartition("/")[2] not in _STAGES]
        if wrong:
            raise ValueError(f"a stage is base, sft, dpo or sft-dpo, optionally after FAMILY/, not '{wrong[0]}'")
        if self.stages and self.reference:
            raise ValueError("give stages or a reference, not both: each stage's reference follows from its name")
        brought = self.own_prompts[1:] if self.data is not None else self.own_prompts
        if entries and brought:
            raise ValueError(f"{' and '.join(brought)} would make prompts; {entries[0]} already holds rows")
        return self

    def of(self, kind: type[_Settings]) -> _Settings:
        """One method's own settings, by their model; its defaults if the method is not registered."""
        return next((own for own in self.method_settings.values() if isinstance(own, kind)), kind())

    @property
    def method_settings(self) -> dict[str, Settings]:
        """Each method's own settings, by the method's name."""
        held = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in held.items() if isinstance(value, Settings)}

    @property
    def own_prompts(self) -> tuple[str, ...]:
        """The settings in use that replace a method's prompts by the user's."""
        given = [(own, name) for own in self.method_settings.values() for name in own.brings_prompts]
        brought = (name for own, name in given if getattr(own, name) is not None)
        return (*(("data",) if self.data is not None else ()), *brought)

    @property
    def files(self) -> list[Path]:
        """Every file that a setting names, sorted: paths, ``human=FILE`` graders, and set names that are files."""
        parts = [self, *self.method_settings.values()]
        values = [getattr(part, name) for part in parts for name in type(part).model_fields]
        paths = {value for value in values if isinstance(value, Path)} | set(self.system_prompt)
        paths |= {Path(name.partition("=")[2]) for name in self.grader if "=" in name}
        return sorted(paths | {Path(value) for value in values if isinstance(value, str) and _is_file(value)})


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # too long for a file name
        return False


class Place(NamedTuple):
    """Where a setting of an audit belongs: the method whose own it is (empty for shared ones), and its field."""

    method: str
    field: FieldInfo


def _methods() -> tuple[registry.Method, ...]:
    """Every registered method that takes part in an audit and has settings of its own, plug-ins last."""
    return tuple(method for method in registry.METHODS if method.audit and method.settings)


def audit_model() -> type[AuditConfig]:
    """`AuditConfig` with one more field for each registered method: its own settings, under its name."""
    return _audit_model(tuple((method.name, method.title, method.settings) for method in _methods()))


@cache
def _audit_model(methods: tuple[tuple[str, str, str], ...]) -> type[AuditConfig]:
    taken = dict.fromkeys(AuditConfig.model_fields, "")
    fields: dict[str, Any] = {}
    for name, title, target in methods:
        kind: type[Settings] = registry.Entry(name, target, title).load()
        lacking = [own for own, field in kind.model_fields.items() if field.is_required()]
        if lacking:
            raise BadInput(f"The setting '{lacking[0]}' of the method '{name}' has no default.")
        for own in (name, *kind.model_fields):
            if own in taken:
                holder = f"the method '{taken[own]}'" if taken[own] else "every audit"
                raise BadInput(f"The method '{name}' has a setting '{own}', which is a setting of {holder}.")
        taken |= dict.fromkeys((name, *kind.model_fields), name)
        fields[name] = (kind, Field(default_factory=kind, title=title, description=f"Settings of the audit {name}."))
    return cast(type[AuditConfig], create_model("AuditConfig", __base__=AuditConfig, __doc__=None, **fields))


def method_models() -> dict[str, type[Settings]]:
    """The model of each method's own settings, by the method's name."""
    fields = audit_model().model_fields
    return {
        name: cast(type[Settings], fields[name].annotation) for name in fields if name not in AuditConfig.model_fields
    }


def audit_settings() -> dict[str, Place]:
    """Every setting of an audit by its flat name: shared ones, then those of each method."""
    places = {name: Place("", field) for name, field in AuditConfig.model_fields.items()}
    for method, kind in method_models().items():
        places |= {name: Place(method, field) for name, field in kind.model_fields.items()}
    return places


def make_config(**values: Any) -> AuditConfig:
    """Settings of an audit, a method's own nested under its name or flat; BadInput names each wrong one and what it takes."""
    return _validated(_nested(values))


def checked(model: type[_Model], /, **values: Any) -> _Model:
    """A settings model of these values; BadInput names each wrong field and what it takes."""
    hide_urls(values)
    try:
        return model(**values)
    except ValidationError as error:
        known = {name: name for name in model.model_fields}
        raise BadInput(_problems(error, known, {}, {})) from None


def load_config(path: Path | None, overrides: dict[str, Any]) -> AuditConfig:
    """A YAML file's settings, replaced by those given on the command line.

    Raises BadInput with the line of what cannot be used. A file with flat settings of a method is read with one warning.
    """
    if path is None:
        return make_config(**overrides)
    if not path.exists():
        raise BadInput("The config file is not there.", file=path)
    found = read_yaml(path)
    values = {} if found.value is None else found.value
    if not isinstance(values, dict):
        raise BadInput("The config file must hold settings by name.", file=path)
    held, over = _nested(values, found.lines, path), _nested(overrides)
    methods = method_models()
    if held.flat:
        _LOG.warning(
            "%s: settings of one method belong under its name (flat ones still load): %s.", path, _moved(held.flat)
        )
    merged, replaced = {**held.values, **over.values}, over.values.keys() - methods.keys()
    for name in methods.keys() & over.values.keys():
        below, above = held.values.get(name, {}), over.values[name]
        if isinstance(below, dict) and isinstance(above, dict):
            merged[name] = {**below, **above}
            replaced |= {*above, *(f"{name}.{own}" for own in above)}
        else:  # anything but a mapping is kept, to be refused
            merged[name] = above if isinstance(below, dict) else below
    lines = {place: line for place, line in found.lines.items() if place not in replaced}
    return _validated(_Given(merged, {**held.flat, **over.flat}), lines, path)


class _Given(NamedTuple):
    """Settings with every method's own under its name; ``flat`` names the method of those that were given flat."""

    values: dict[str, Any]
    flat: dict[str, str]


def _nested(values: Mapping[str, Any], lines: Mapping[str, int] | None = None, path: Path | None = None) -> _Given:
    """Flat settings put under the method whose own they are. Raises BadInput for one that is given both ways."""
    places, methods = audit_settings(), method_models()
    found: dict[str, Any] = {}
    flat: dict[str, str] = {}
    for name, value in values.items():
        if name in methods and isinstance(value, Settings | Mapping):
            found[name] = value.model_dump(exclude_unset=True) if isinstance(value, Settings) else dict(value)
        elif name in places and places[name].method:
            flat[name] = places[name].method
        else:
            found[name] = value
    for name, method in flat.items():
        under = found.setdefault(method, {})
        if not isinstance(under, dict):
            continue
        if name in under:
            where = f" (line {lines[name]})" if lines and name in lines else ""
            raise BadInput(f"{name}{where} is given twice: by itself and under {method}.", file=path, do="Keep one.")
        under[name] = values[name]
    return _Given(found, flat)


def _moved(flat: Mapping[str, str]) -> str:
    """``reward: {tau, scope}, service: {unsafe}``"""
    methods = dict.fromkeys(flat.values())
    return ", ".join(
        f"{method}: {{{', '.join(name for name, owner in flat.items() if owner == method)}}}" for method in methods
    )


def _validated(given: _Given, lines: Mapping[str, int] | None = None, path: Path | None = None) -> AuditConfig:
    hide_urls(given.values)
    try:
        return audit_model()(**given.values)
    except ValidationError as error:
        known = {f"{place.method}.{name}".lstrip("."): name for name, place in audit_settings().items()}
        raise BadInput(_problems(error, known, given.flat, lines or {}), file=path) from None


def _problems(
    error: ValidationError, known: Mapping[str, str], flat: Mapping[str, str], lines: Mapping[str, int]
) -> str:
    """Each wrong setting and what it takes.

    ``known`` is every setting's place to its name, ``flat`` the method of the settings that were given flat, ``lines`` the line
    of what a file holds.
    """
    parts = []
    for item in error.errors():
        loc = [str(part) for part in item["loc"]]
        if len(loc) > 1 and flat.get(loc[1]) == loc[0]:
            loc = loc[1:]
        line = lines.get(".".join(loc[:2]), lines.get(loc[0])) if loc else None
        place = f" (line {line})" if line else ""
        parts.append(f"{'.'.join(loc) or 'settings'}{place}: {_why(item, loc, known)}")
    return "; ".join(parts) + "."


def _why(item: Any, loc: list[str], known: Mapping[str, str]) -> str:
    if item["type"] != "extra_forbidden":
        return str(item["msg"]).removeprefix("Value error, ")
    exact = [place for place, name in known.items() if name == loc[-1]]
    if exact:
        return f"there is no such setting here; it is {exact[0]}"
    names = {name: place for place, name in known.items()}
    near = difflib.get_close_matches(loc[-1], names, n=3, cutoff=0.6)
    if near:
        return f"there is no such setting (nearest: {', '.join(names[name] for name in near)})"
    if len(loc) > 1:
        own = [name for place, name in known.items() if place.startswith(f"{loc[0]}.")]
        return f"there is no such setting (known: {', '.join(own)})"
    return f"there is no such setting (known: {', '.join(known)})"


def nested_plan(before: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan of a run of an older version, with its flat settings where ``now`` has them and its inputs sorted."""
    old, new = before.get("config"), now.get("config")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return before
    methods = {name: part for name, part in new.items() if isinstance(part, dict) and name not in old}
    if not methods:
        return before
    places = {own: name for name, part in methods.items() for own in part}
    nested: dict[str, Any] = {name: value for name, value in old.items() if name not in places}
    for own, method in places.items():
        if own in old:
            nested.setdefault(method, {})[own] = old[own]
    return {
        **before,
        "config": nested,
        "inputs": sorted(before.get("inputs", ()), key=lambda entry: str(entry["path"])),
    }
