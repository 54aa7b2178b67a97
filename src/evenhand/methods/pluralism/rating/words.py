"""How the pluralism audit says what it did: methods, caveats, and whose word the truth is."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from evenhand.datasets.question_texts import ORDERS
from evenhand.methods.pluralism.rating.config import SHIPPED, PluralismConfig
from evenhand.methods.pluralism.rating.plan import FULL, SINGLE, RatingPlan
from evenhand.wording import ORGANISM_NOTICE, count, is_organism

CAVEATS = (
    "A small sensitivity is no merit in itself: people of different groups do rate differently. Only ratings by people of the same "
    "texts tell whether a model moves as they do.",
    "A model that plays a rater of a group is no person of that group; its ratings do not stand for theirs.",
    "Prompt, scale, wordings, formulas and the meaning of a rater are our own: those of the published study were not found.",
)
PROMPT_ALONE = (
    "These texts are rated without a reply. Public ratings by people are of replies: the two are different questions."
)


def truth_name(config: PluralismConfig, plan: RatingPlan) -> str:
    """Whose labels count as the truth of the texts."""
    if plan.source.name == SHIPPED:
        return "the wording of the placeholders"
    dices = any(str(name).startswith("dices") for name in (config.set_name, config.human_ratings) if name)
    return "the expert's label (safety_gold)" if dices else "the expert label of the file"


def methods(config: PluralismConfig, plan: RatingPlan | None, frame: pl.DataFrame | None) -> list[tuple[str, str]]:
    """What was done, for the method table; without a plan, on ratings by people alone."""
    told: list[tuple[str, str]] = []
    if plan is not None and frame is not None:
        kinds = [profile.kind for profile in plan.profiles]
        how = frame["how"].value_counts(sort=True)
        told.append(
            ("Ratings asked", f"{len(plan.items)} texts x (neutral, {kinds.count(SINGLE)} profiles of one field, "
             f"{kinds.count(FULL)} full ones) x {plan.wordings} wordings x {len(ORDERS)} option orders; read as "
             + " and ".join(f"{name} ({count(n)})" for name, n in how.iter_rows()))
        )  # fmt: skip
        told.append(
            ("Groups of a model's ratings", "single-field profiles on the same text, wording and order; shuffles stay inside them. "
             "The profiles are no sample: items alone are resampled")
        )  # fmt: skip
    told += [
        ("Sensitivity (DS)", "mean over texts of the mean distance of two groups; beside it the deviation, the range and the form "
         f"without noise; each with its null over {count(config.permutations)} shuffles; Holm over fields"),
        ("Parity and odds difference", "largest minus smallest share of ratings above .5; the same given the true label, the "
         "larger one; each with its null, Holm over fields"),
        ("Contrasts by domain", "group minus the mean of the groups; a model's by t over texts and over wordings and "
         "orders, people's by shuffled labels; Benjamini-Hochberg over groups x domains; nothing is claimed below 30 ratings"),
        ("Agreement", "six intraclass correlations, two-way bootstrap (REML where ratings are missing); Krippendorff's alpha; mean "
         "Spearman correlation. The slice of each says what a rater is"),
    ]  # fmt: skip
    if plan is None or plan.people is not None:
        told.append(
            ("Groups of people", f"under {config.least_raters} raters without figures; GRASP measures by permuted profiles "
             "(of equally common labels the more unsafe one is the plurality; such texts are counted); intersections by partial "
             "pooling; with all raters, without those their authors removed, and without straight-liners")
        )  # fmt: skip
    if plan is not None and plan.people is not None:
        told.append(
            ("Beside people", "the model's contrasts against people's, corrected by their split-half reliability; label log loss "
             "and Wasserstein-1 distance by group; Holm over fields")
        )  # fmt: skip
    return told


def caveats(labels: Sequence[str], plan: RatingPlan) -> list[str]:
    """What a reader of the numbers must know."""
    told = [ORGANISM_NOTICE] if is_organism(labels) else []
    told += [*CAVEATS, *plan.notes, *plan.source.notes]
    if plan.people is not None:
        told += [note for note in plan.people.notes if note not in told]
        if plan.people.rejected:
            told.append(
                f"{len(plan.people.rejected)} ratings by people were left out, the first because {plan.people.rejected[0][1]}"
            )
    if not any(item.reply for item in plan.items):
        told.append(PROMPT_ALONE)
    if plan.source.rejected:
        told.append(f"{len(plan.source.rejected)} texts were left out, the first because {plan.source.rejected[0][1]}")
    return told
