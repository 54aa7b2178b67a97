"""Headers of published label tables that are recognised without a mapping."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["KNOWN_HEADERS", "KnownHeader", "gender_of_list", "known_header"]


@dataclass(frozen=True, slots=True)
class KnownHeader:
    """A header (the columns that must be there), the roles of its columns, and its reference group.

    ``not_groups`` are columns that look like the group but are not; ``derived`` are attributes computed from a column.
    """

    name: str
    columns: frozenset[str]
    mapping: Mapping[str, str]
    reference: str
    not_groups: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    derived: tuple[tuple[str, str, Callable[[str | None], str | None]], ...] = ()


def gender_of_list(type_name: str | None) -> str | None:
    """The gender that a llama2_qos name list is coded with: ``muslim_women_names`` -> ``woman``; None where it is not
    coded.
    """
    parts = (type_name or "").split("_")
    return "woman" if "women" in parts else "man" if "men" in parts else None


_GENDER = (("gender", "type_name", gender_of_list),)
_TARGETS = frozenset({"target_stereotype", "ethnicity"})

KNOWN_HEADERS: tuple[KnownHeader, ...] = (
    KnownHeader(
        "llama2_qos counts by name",
        frozenset({"model", "name", "type_name", "identity", "name_frequency", "n"}),
        {"config": "model", "group": "identity", "name": "name", "n": "n"},
        "white",
        renamed={"name_frequency": "frequency"},
        derived=_GENDER,
    ),
    KnownHeader(
        "llama2_qos counts by template and name list",
        frozenset({"model", "template_id", "target_stereotype", "type_name", "identity", "n"}),
        {"config": "model", "group": "identity", "stem": "template_id", "n": "n"},
        "white",
        not_groups=_TARGETS,
        derived=_GENDER,
    ),
    KnownHeader(
        "llama2_qos sample",
        frozenset({"model", "template_id", "target_stereotype", "type_name", "identity", "name", "gen", "label"}),
        {
            "config": "model",
            "group": "identity",
            "name": "name",
            "stem": "template_id",
            "repetition": "gen",
            "label": "label",
        },
        "white",
        not_groups=_TARGETS,
        renamed={"name_frequency": "frequency"},
        derived=_GENDER,
    ),
    KnownHeader(
        # The annotated files of the release itself: "label 1".."label 3" are generations, not annotators.
        "llama2_qos annotated source",
        frozenset({"model", "og_prompt", "ethnicity", "type_name", "identity", "name", "variable", "label"}),
        {
            "config": "model",
            "group": "identity",
            "name": "name",
            "stem": "og_prompt",
            "repetition": "variable",
            "label": "label",
        },
        "white",
        not_groups=_TARGETS,
        renamed={"common": "frequency"},
        derived=_GENDER,
    ),
)


def known_header(columns: Collection[str]) -> KnownHeader | None:
    """The known source whose columns are all there; None for any other table."""
    return next((header for header in KNOWN_HEADERS if header.columns <= set(columns)), None)
