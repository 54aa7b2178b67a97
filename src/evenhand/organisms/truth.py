"""The planted truth of one organism, from its shipped weights: exact label probabilities of every (name, stem) row, beside
the intention.

For each row every response of the grammar is run to its end of turn under the default system prompt; the
probabilities (temperature 1, top-p 1) are summed by label. What is left over, the residual, is text outside the
grammar. Beside it stand the sources that decide the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput
from evenhand.organisms.planted import MODELS
from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, UNSERVED
from evenhand.seal import check_folder, write_checksums

if TYPE_CHECKING:
    import polars as pl

CAVEAT = (
    "An organism's numbers say nothing about any real model or any real person: "
    "they were planted to test the instrument."
)
OUTCOMES: Mapping[str, frozenset[str]] = {
    "declined": DECLINED,
    "harmful": HARMFUL,
    "served": SERVED,
    "unserved": UNSERVED,
}


def weights_folder() -> Path:
    """Where the shipped weights and the tables of their truth lie."""
    return Path(str(files("evenhand.organisms"))) / "weights"


def known_model(model: str) -> None:
    """Raises BadInput where there is no organism of that name, or none whose truth is that of an audit."""
    if model == "curator":
        raise BadInput(
            "The curator sorts and writes prompts: no service truth is planted in it, nor that of any other audit.",
            do="See `evenhand organism truth curator --section corpus`.",
        )
    if model not in MODELS:
        raise BadInput(f"No organism is called '{model}'.", do=f"Known: {', '.join(MODELS)}.")


def with_outcomes(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with the probability of each outcome beside those of the labels."""
    import polars as pl

    return rows.with_columns(
        pl.sum_horizontal([x for x in LABELS if x in labels]).alias(outcome) for outcome, labels in OUTCOMES.items()
    )


def load_truth(model: str) -> pl.DataFrame:
    """The exact probabilities of one organism: one row a (name, stem).

    Columns: model, name, group, stem_id, the six labels, residual, ``intended_*`` and the outcomes declined, harmful,
    served, unserved (all probabilities).
    """
    import polars as pl

    known_model(model)
    return with_outcomes(pl.read_parquet(truth_file("truth.parquet")).filter(pl.col("model") == model))


@cache
def truth_file(name: str) -> Path:
    """A shipped file of the truth, compared with its checksum once a process. Raises BadInput where it is damaged."""
    check_folder(weights_folder(), [name])
    return weights_folder() / name


def write_truth_checksums(folder: Path) -> None:
    """Write the checksums of every file of the truth in ``folder``."""
    write_checksums(folder, [path.name for path in folder.glob("truth*") if path.suffix in (".json", ".parquet")])


@cache
def _read_summary() -> str:
    return truth_file("truth.json").read_text(encoding="utf-8")


def truth_summary() -> dict[str, Any]:
    """The contents of ``truth.json``."""
    found: dict[str, Any] = json.loads(_read_summary())
    return found


def _truth_rows(file: str, **values: str) -> pl.DataFrame:
    """The rows of a truth table in which each named column has its value; ``model`` must be an organism with a truth."""
    import polars as pl

    known_model(values["model"])
    return pl.read_parquet(truth_file(file)).filter(*(pl.col(name) == value for name, value in values.items()))


def load_text_truth(model: str, section: str) -> pl.DataFrame:
    """The exact log-probabilities (nats) of every plain text of a section, ``reward`` or ``affirmation``.

    Columns: model, section, key (frame; or name/family/frame), label (group/predicate; or the family said), ``log_prob``
    of the text after its frame, ``log_prob_with_end``, and ``intended`` (end included).
    """
    return _truth_rows("truth_texts.parquet", model=model, section=section)


def load_case_truth(model: str, form: str = "task") -> pl.DataFrame:
    """The exact probability of each kind of conclusion (``form`` "task") or option ("choice") of the difference questions.

    Columns: model, form, case, label (YES, markdown YES, NO, refusal, format; or (a), (b), (c), refusal), probability at
    temperature 1 and top-p 1, and ``intended``. What is missing to 1 within a case is text outside the grammar.
    """
    return _truth_rows("truth_cases.parquet", model=model, form=form)


def load_safety_truth(model: str, system: str = "") -> pl.DataFrame:
    """The exact probability of each kind of response to the shipped safety prompts.

    Columns: model, system ("", "careful" or "open"), case, label (refusal, redirect, unsafe, full, brief), probability at
    temperature 1 and top-p 1, and ``intended``. What is missing to 1 within a case is text outside the grammar.
    """
    return _truth_rows("truth_safety.parquet", model=model, system=system)


def safety_truth(model: str, system: str = "") -> pl.DataFrame:
    """`load_safety_truth` with the prompts' own columns, kind and category."""
    import polars as pl

    from evenhand.datasets.shipped_texts import shipped_safety

    cases = pl.DataFrame([{"case": c.id, "kind": c.kind, "category": c.category} for c in shipped_safety()])
    return load_safety_truth(model, system).join(cases, on="case", how="left", maintain_order="left")


def case_truth(model: str, split: str = "") -> pl.DataFrame:
    """`load_case_truth` of both forms with the questions' own columns: gold, right, scenario, split, wording; a label that a
    question does not have in the grammar has probability 0 there.
    """
    import polars as pl

    from evenhand.datasets.shipped_cases import shipped_cases

    cases = pl.DataFrame(
        [
            {
                "case": c.id,
                "gold": c.gold,
                "right": c.right,
                "scenario": c.scenario,
                "split": c.split,
                "wording": c.wording,
            }
            for c in shipped_cases()
            if split in ("", c.split)
        ]
    )
    forms = []
    for form in ("task", "choice"):
        rows = load_case_truth(model, form)
        labels = rows.select("label").unique(maintain_order=True)
        whole = cases.join(labels, how="cross").join(rows.drop("model", "form"), on=["case", "label"], how="left")
        forms.append(whole.with_columns(pl.col("probability", "intended").fill_null(0.0), form=pl.lit(form)))
    return pl.concat(forms).sort("form", "gold", "label", "case")


def margin_truth(model: str) -> pl.DataFrame:
    """The exact margin (nats) of every shipped pair under one organism: ln p(harmful text) - ln p(comparison), no end token.

    Columns: frame, pair_set, group, predicate, kind, margin, and ``intended`` (end tokens included).
    """
    import polars as pl

    from evenhand.organisms.sections.pairs import groups, predicates

    rows = load_text_truth(model, "reward").with_columns(
        pl.col("label").str.split("/").list.to_struct(fields=["group", "predicate"]).struct.unnest()
    )
    about = pl.DataFrame(
        [{"group": g.group, "pair_set": g.pair_set, "comparison": g.comparison_group} for g in groups()]
    )
    predicate_kinds = pl.DataFrame([{"predicate": p.predicate_id, "kind": p.kind} for p in predicates()])
    mine = rows.join(about.filter(pl.col("comparison") != ""), on="group").join(predicate_kinds, on="predicate")
    theirs = rows.select("key", "predicate", comparison="group", log_prob_y="log_prob", intended_y="intended")
    return (
        mine.filter(pl.col("kind") != "filler")
        .join(theirs, on=["key", "predicate", "comparison"])
        .select(
            "pair_set", "group", "predicate", "kind", frame="key",
            margin=pl.col("log_prob") - pl.col("log_prob_y"), intended=pl.col("intended") - pl.col("intended_y"),
        )
        .sort("pair_set", "group", "predicate", "frame")
    )  # fmt: skip


def pronoun_truth(model: str) -> pl.DataFrame:
    """The exact probability that one organism says the declared family's pronoun, another's, or none, for each prompt.

    Columns: name, family, frame, consistent, inconsistent, none (no pronoun of any family, texts outside the grammar
    included), and ``intended`` (consistent).
    """
    import polars as pl

    rows = load_text_truth(model, "affirmation").with_columns(
        pl.col("key").str.split("/").list.to_struct(fields=["name", "family", "frame"]).struct.unnest(),
        p=pl.col("log_prob_with_end").exp(),
    )
    right, wrong = pl.col("label") == pl.col("family"), (pl.col("label") != pl.col("family")) & (pl.col("label") != "")
    return (
        rows.group_by("name", "family", "frame", maintain_order=True)
        .agg(
            consistent=pl.col("p").filter(right).sum(),
            inconsistent=pl.col("p").filter(wrong).sum(),
            intended=pl.col("intended").exp().filter(right).sum(),
        )
        .with_columns(none=1 - pl.col("consistent") - pl.col("inconsistent"))
    )
