"""Columns and cells of the DICES files: headers, spellings, topics, speakers, and the raters whom the authors remove.

Headers, spellings and topics follow the DICES builder of tensorflow/datasets, which reads both files completely (arXiv 2306.11247).
The harm domain of a topic was not published: that map is a chosen default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evenhand.datasets.base import clean_key

ANSWERS: Mapping[str, float] = {"No": 0.0, "Unsure": 0.5, "Yes": 1.0}
"""What an answer means: Yes says that the last reply of the chatbot is unsafe."""


@dataclass(frozen=True, slots=True)
class Release:
    """One of the two sets: counts of the published file, its bytes, and the columns of the rater fields."""

    name: str
    rows: int
    items: int
    raters: int
    sha256: str
    axes: Mapping[str, str]
    speakers: tuple[str, ...]


_AXES = {axis: f"rater_{axis}" for axis in ("gender", "race", "age", "education")}
RELEASES: Mapping[str, Release] = {
    "350": Release(
        "350",
        43_050,
        350,
        123,
        "63cb8620eb04e64957f9e45b1f7cb3d079c4eed8e8b28909f46e0b7038ce4301",
        _AXES,
        ("USER", "LAMDA", "LLM"),
    ),
    "990": Release(
        "990",
        72_103,
        990,
        173,
        "14332b6391cdee80383b765c734de3bebf6d8553141ee7d2f47ef0910a12fcf7",
        {**_AXES, "locale": "rater_locale"},
        ("A", "B"),
    ),
}

_RATER_350 = "id rater_id rater_gender rater_race rater_raw_race rater_age rater_education phase item_id"
_HARM_350 = (
    "medical_legal_financial_or_relationship_advice dangerous_content derogation_of_boat insensitive obscene_and_profane "
    "personal_information regulated_goods sexually_suggestive_content other"
)
_BIAS_350 = (
    "targeting_beliefs targeting_gender_sexual_orientation targeting_inherited_attributes targeting_status other"
)
_RATER_990 = "id rater_id rater_gender rater_locale rater_race rater_race_raw rater_age rater_education phase item_id"
_HARM_990 = (
    "harm_to_people_or_animals violent_or_gory promotes_or_condones_use_of_harmful_regulated_goods health_and_safety_claims "
    "financial_advice promotes_or_condones_violence how_tos_about_harmful_activities personal_information explicitly_sexual "
    "obscenities_or_profanities other"
)
_SLURS_990 = (
    "Q3_3_Racial_religious_or_other_slurs_and_stereotypes_that_incites_or_promote_hatred_based_on_any_of_the_"
    "attributes_noted_above"
)
_BIAS_990 = (
    "physically_or_mentally_inferior superiority_or_subjugation_of_a_group "
    "calling_individuals_or_groups_evil_corrupt_or_malicious insults_about_emotional_romantic_and_or_sexual_attraction other"
)
_Q1 = "Q1_whole_conversation_evaluation"


def _with(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}_{name}" for name in names.split())


HEADERS: Mapping[str, tuple[str, ...]] = {
    "350": (
        *_RATER_350.split(),
        *("answer_time_ms", "answer_timestamp", "context", "response", "degree_of_harm", "harm_type"),
        *("safety_gold", "safety_gold_reason", _Q1),
        *_with("Q2_harmful_content", _HARM_350),
        *_with("Q3_bias", _BIAS_350),
        *("Q4_misinformation", "Q5_political_affiliation"),
        *_with("Q6_policy_guidelines", "polarizing_topics making_endorsement other"),
        *("Q2_harmful_content_overall", "Q3_bias_overall", "Q6_policy_guidelines_overall", "Q_overall"),
    ),
    "990": (
        *_RATER_990.split(),
        *("context", "response", "degree_of_harm", "harm_type", _Q1),
        *_with("Q2_harmful_content", _HARM_990),
        *_with("Q3_bias", "incites_hatred subhuman_comparisons"),
        _SLURS_990,
        *_with("Q3_bias", _BIAS_990),
        *_with("Q4_misinformation", "false_theories contradicts_expert_consensus conspiracy_theories political other"),
        *("Q2_harmful_content_overall", "Q3_unfair_bias_overall", "Q4_misinformation_overall", "Q_overall"),
    ),
}
"""The header of each file, in order (the readme of the release differs from it)."""

REMOVED_350: tuple[str, ...] = (
    "296709543131761", "296709611112092", "297059995361243", "297060365288109", "297514543980607", "297514565398139",
    "297515609163939", "297515617432733", "297515629971478", "297515729806999", "297515750682315", "297540556928761",
    "297540562350921", "297540983991638", "297541271027233", "297541321453321", "297541515566649", "297541515769980",
    "297541522412126",
)  # fmt: skip
"""The 19 raters of the 350 set that its authors leave out for quality, 123 to 104 (newer readme of DICES-350)."""

SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "gender": {value: value for value in ("Man", "Woman", "Nonbinary", "Self-describe (below)")},
    "race": {
        value: value
        for value in (
            "Asian/Asian subcontinent",
            "Black/African American",
            "LatinX, Latino, Hispanic or Spanish Origin",
            "Multiracial",
            "Other",
            "White",
        )
    },
    "age": {"gen z": "gen z", "millenial": "millenial", "millennial": "millenial", "gen x+": "gen x+"},
    "education": {value: value for value in ("College degree or higher", "High school or below", "Other")},
    "locale": {"US": "US", "IN": "IN", "India": "IN"},
}
"""Axis to spelling to the value that is kept: the one that the files use, which the rating profiles use too."""

SHORT_NAMES: Mapping[str, str] = {
    "Asian/Asian subcontinent": "Asian",
    "Black/African American": "Black",
    "LatinX, Latino, Hispanic or Spanish Origin": "Latine",
    "millenial": "millennial",
    "IN": "India",
}
"""Values to the names that tables of published results use, where they differ."""

_BIAS = "discrimination,stereotype,injustice"
_POLITICS = "controversial_topics,politics"
_DRUGS = "drug_abuse,weapons,banned_substance"
_TERROR = "terrorism,organized_crime"
TOPIC_DOMAINS: Mapping[str, str] = {
    "ablist": _BIAS,
    "ageism": _BIAS,
    "bigoted": _BIAS,
    "gendered & sexist": _BIAS,
    "lgbtq+ & homophobic": _BIAS,
    "national/regional": _BIAS,
    "racial": _BIAS,
    "religious": _BIAS,
    "abortion": _POLITICS,
    "environment/climate": _POLITICS,
    "political": _POLITICS,
    "drugs/alcohol": _DRUGS,
    "regulated goods": _DRUGS,
    "aggressive": "hate_speech,offensive_language",
    "misinformation": "misinformation_regarding_ethics,laws_and_safety",
    "mental health/self harm": "self_harm",
    "sexual": "sexually_explicit,adult_content",
    "insurgency": _TERROR,
    "terrorism": _TERROR,
    "violent/gory": "violence,aiding_and_abetting,incitement",
    **dict.fromkeys(("banter", "celebrity", "criminal/carceral", "entertainment", "health"), ""),
    **dict.fromkeys(("identity", "legal", "miscellaneous", "personal", "senseless", "wealth/finance"), ""),
}
"""Topic of an expert's harm_type, in lower case, to one of the 14 domains, or empty if it names no harm of one of them."""


def topics_of(harm_type: str) -> tuple[str, ...]:
    """The topics of a cell of harm_type, in its order and in lower case; none for an empty or unannotated cell."""
    named = (clean_key(topic).casefold() for topic in harm_type.split(","))
    return tuple(dict.fromkeys(topic for topic in named if topic not in ("", "no annotation")))


def domains_of(harm_type: str) -> tuple[str, ...]:
    """The domains that the topics map to, in the order of the cell; topics without one are left out."""
    return tuple(dict.fromkeys(filter(None, (TOPIC_DOMAINS.get(topic, "") for topic in topics_of(harm_type)))))


def reason_columns(header: Sequence[str]) -> tuple[str, ...]:
    """Columns of single reasons: those of Q2 to Q6 that are not overall answers."""
    return tuple(name for name in header if re.match(r"Q[2-6]_", name) and not name.endswith("_overall"))


def mark_speakers(context: str, speakers: Sequence[str]) -> str:
    """``USER: hello`` at the start of a line as ``[USER] hello``, so that a tag is distinct from what was said."""
    return re.sub(rf"^({'|'.join(map(re.escape, speakers))}):[ \t]*", r"[\1] ", context, flags=re.MULTILINE)


def item_text(cell: str, release: Release) -> str:
    """A context or reply as it was shown: line breaks real and alike, tags of speakers marked (``[USER] ...``)."""
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    if release.name == "990":
        text = text.replace("\\n", "\n")
    return mark_speakers(text, release.speakers).strip()
