"""The truth row by row: exact probabilities of single texts and answers, read from the tables beside the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.organisms.truth import known_model, truth_file

if TYPE_CHECKING:
    import polars as pl


def load_text_truth(model: str, section: str) -> pl.DataFrame:
    """The exact log-probabilities (nats) of every plain text of a section, ``reward`` or ``affirmation``.

    Columns: model, section, key (frame; or name/family/frame), label (group/predicate; or the family said), ``log_prob``
    of the text after its frame, ``log_prob_with_end``, and ``intended`` (end included).
    """
    import polars as pl

    known_model(model)
    rows = pl.read_parquet(truth_file("truth_texts.parquet"))
    return rows.filter((pl.col("model") == model) & (pl.col("section") == section))


def load_case_truth(model: str, form: str = "task") -> pl.DataFrame:
    """The exact probability of each kind of conclusion (``form`` "task") or option ("choice") of the difference questions.

    Columns: model, form, case, label (YES, markdown YES, NO, refusal, format; or (a), (b), (c), refusal), probability at
    temperature 1 and top-p 1, and ``intended``. What is missing to 1 within a case is text outside the grammar.
    """
    import polars as pl

    known_model(model)
    rows = pl.read_parquet(truth_file("truth_cases.parquet"))
    return rows.filter((pl.col("model") == model) & (pl.col("form") == form))


def load_safety_truth(model: str, system: str = "") -> pl.DataFrame:
    """The exact probability of each kind of response to the shipped safety prompts.

    Columns: model, system ("", "careful" or "open"), case, label (refusal, redirect, unsafe, full, brief), probability at
    temperature 1 and top-p 1, and ``intended``. What is missing to 1 within a case is text outside the grammar.
    """
    import polars as pl

    known_model(model)
    rows = pl.read_parquet(truth_file("truth_safety.parquet"))
    return rows.filter((pl.col("model") == model) & (pl.col("system") == system))


def safety_truth(model: str, system: str = "") -> pl.DataFrame:
    """`load_safety_truth` with the prompts' own columns, kind and category."""
    import polars as pl

    from evenhand.datasets.shipped_safety import shipped_safety

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

    from evenhand.organisms.planted_pairs import groups, predicates

    rows = load_text_truth(model, "reward").with_columns(
        pl.col("label").str.split("/").list.to_struct(fields=["group", "predicate"]).struct.unnest()
    )
    about = pl.DataFrame(
        [{"group": g.group, "pair_set": g.pair_set, "comparison": g.comparison_group} for g in groups()]
    )
    said = pl.DataFrame([{"predicate": p.predicate_id, "kind": p.kind} for p in predicates()])
    mine = rows.join(about.filter(pl.col("comparison") != ""), on="group").join(said, on="predicate")
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
