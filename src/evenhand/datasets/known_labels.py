"""Headers of published label tables that are recognised without a mapping."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownHeader:
    """A header (the columns that must be there), the roles of its columns, and its reference group.

    ``not_groups`` are columns that look like the group but are not; ``derived`` are attributes
    computed from a column, and ``hidden`` the columns that they replace.
    """

    name: str
    columns: frozenset[str]
    mapping: Mapping[str, str]
    reference: str
    not_groups: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    derived: tuple[tuple[str, str, Callable[[str | None], str | None]], ...] = ()


def gender_of_list(type_name: str | None) -> str | None:
    """The gender that a llama2_qos name list is coded with: ``muslim_women_names`` -> ``woman``; None where it is not
    coded.
    """
    parts = (type_name or "").split("_")
    return "woman" if "women" in parts else "man" if "men" in parts else None


def relative_frequency(published: str | None) -> str | None:
    """``rare`` for the release's ``least``, as in the shipped sets."""
    return "rare" if published == "least" else published


_GENDER = (("gender", "type_name", gender_of_list),)
_TARGETS = frozenset({"target_stereotype", "ethnicity"})

KNOWN_HEADERS: tuple[KnownHeader, ...] = (
    KnownHeader(
        "llama2_qos counts by name",
        frozenset({"model", "name", "type_name", "identity", "name_frequency", "n"}),
        {"config": "model", "group": "identity", "name": "name", "n": "n"},
        "white",
        hidden=frozenset({"name_frequency"}),
        derived=(*_GENDER, ("frequency", "name_frequency", relative_frequency)),
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
        frozenset(
            {
                "model",
                "template_id",
                "target_stereotype",
                "type_name",
                "identity",
                "name",
                "name_frequency",
                "gen",
                "label",
            }
        ),
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
        hidden=frozenset({"name_frequency"}),
        derived=(*_GENDER, ("frequency", "name_frequency", relative_frequency)),
    ),
    KnownHeader(
        # The annotated files of the release itself: "label 1".."label 3" are generations, not annotators.
        "llama2_qos annotated source",
        frozenset({"model", "og_prompt", "ethnicity", "type_name", "identity", "name", "common", "variable", "label"}),
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
        hidden=frozenset({"common"}),
        derived=(*_GENDER, ("frequency", "common", relative_frequency)),
    ),
)


def known_header(columns: Collection[str]) -> KnownHeader | None:
    """The known source whose columns are all there; None for any other table."""
    return next((header for header in KNOWN_HEADERS if header.columns <= set(columns)), None)
