"""Settings of the pluralism audit, which stand in those of a whole run and in those of `evenhand rate` alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

RatingSet = Annotated[
    str | None,
    Field(
        description="Texts to be rated: shipped (organisms), grammar, dices-350, dices-990, demo_safetybench, or a file (text, and "
        "id, reply, domain, gold). Those of --human-ratings where none is named."
    ),
]
HumanRatings = Annotated[
    str | None,
    Field(description="Ratings by people of the same texts: dices-350, dices-990, or a file, one row a rating."),
]
RatingItems = Annotated[int, Field(ge=0, description="At most so many texts to rate, sampled by domain; 0 asks all.")]
Axes = Annotated[
    tuple[Literal["gender", "race", "age", "education"], ...],
    Field(min_length=1, description="Fields of a rater's profile that are varied alone."),
]
FullProfiles = Annotated[
    int,
    Field(
        ge=0,
        description="Rater profiles with every field, sampled by the seed, race x gender in turn; 0 asks none.",
    ),
]
Wordings = Annotated[
    int, Field(ge=1, le=4, description="Wordings of the rating question, each with both option orders.")
]
RatingRead = Annotated[
    Literal["auto", "probabilities", "letter"],
    Field(description="auto: letter probabilities where the engine gives them, else the letter of its text."),
]
LeastMass = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Where the letters hold less probability, the answer is drawn and its letter read.",
    ),
]
LeastRaters = Annotated[int, Field(ge=1, description="Groups of people with fewer raters are listed without figures.")]
Permutations = Annotated[int, Field(ge=99, description="Shuffles of group labels behind each null of ratings.")]
RemlDraws = Annotated[
    int,
    Field(
        ge=0,
        description="Bootstrap draws of an intraclass correlation of an incomplete table; 0 for no interval.",
    ),
]
Scale = Annotated[
    tuple[float, ...] | None,
    Field(description="The two ends of numeric ratings: what is safe, then what is unsafe (--scale 1 --scale 5)."),
]
