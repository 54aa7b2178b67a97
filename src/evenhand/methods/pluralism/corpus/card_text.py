"""The data card of a built corpus as Markdown: what is in it, where it comes from, and which settings are published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evenhand.methods.pluralism.corpus.build_tables import SPLITS
from evenhand.methods.pluralism.corpus.card import FEW
from evenhand.methods.pluralism.corpus.config import PUBLISHED, BuildConfig
from evenhand.methods.pluralism.corpus.quality import REASONS
from evenhand.methods.pluralism.corpus.wording import DOMAIN_OF
from evenhand.safe_text import terminal_safe
from evenhand.wording import DASH, between, count, number, percent


def _cell(text: Any) -> str:
    """One cell of a Markdown table: no line break, column mark or foreign markup."""
    plain = " ".join(terminal_safe(str(text)).split())
    for mark in "\\`*_[]<>|":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return [*lines, *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows), ""]


def _name(slug: str) -> str:
    return DOMAIN_OF[slug].name if slug in DOMAIN_OF else "None"


def card_text(facts: Mapping[str, Any], config: BuildConfig) -> str:
    """The card as Markdown, from the content of ``card.json``."""
    source, rows, classification = facts["source"], facts["rows"], facts["classification"]
    lines = [f"# Data card: {_cell(source['name'])}", ""]
    lines += [f"**{sentence}**\n" for sentence in facts["organism"]]
    lines += ["## Source", ""]
    lines += _table(
        ["what", "value"],
        [
            ("origin", source["origin"]),
            ("licence of the source", source["licence"] or "not stated"),
            *((f"checksum of {name}", value) for name, value in source["checksums"].items()),
            ("rows read", count(rows["read"])),
            ("rows without a text, left out", count(rows["rejected"])),
            ("different texts", count(rows["texts"])),
            ("profiles", count(rows["profiles"])),
        ],
    )
    lines += [f"- {_cell(note)}" for note in source["notes"]]
    lines += ["", "## Rows by domain", ""]
    total = rows["final"]
    lines += _table(
        ["domain", "real", "synthetic", "rows", "share"],
        [
            (
                _name(row["domain"]),
                count(row["real"]),
                count(row["synthetic"]),
                count(row["rows"]),
                percent(row["rows"] / total),
            )
            for row in facts["domains"]
        ]
        + [("all", count(rows["real"]), count(rows["synthetic"]), count(total), percent(1.0))],
    )
    lines += [
        f"The counts add up to the {count(total)} rows (checked). A row is a different text, not a rating.",
        f"Domains with fewer than {FEW} rows, about which no claim should be made: "
        + (", ".join(_name(r["domain"]) for r in facts["domains"] if r["rows"] < FEW) or "none")
        + ".",
        "",
    ]
    lines += _table(
        ["diversity", "entropy, nats", "effective number of classes", "largest to smallest class"],
        [
            (
                what,
                number(facts["diversity"][key]["entropy"]),
                number(facts["diversity"][key]["effective_classes"]),
                number(facts["diversity"][key]["largest_to_smallest"]),
            )
            for what, key in (("real rows", "real"), ("all rows", "all"))
        ],
    )
    lines += ["## Classification", ""]
    lines += _table(["status", "texts"], [(status, count(n)) for status, n in classification["statuses"].items()])
    lines += [
        f"Texts without the status ok have no label and are not in the corpus. The label flips between the two wordings for "
        f"{count(classification['flipped'])} texts ({percent(classification['flip_rate'])}); they are on the review list. "
        f"Mode: {facts['mode']}; median probability of Yes and No together: {number(classification['median_mass'])}.",
        "",
    ]
    lines += _table(
        ["domain", "mean distance of the two wordings"],
        [(_name(slug), number(gap)) for slug, gap in classification["mean_gap"].items()],
    )
    lines += _validation_lines(facts["validation"]) + _expansion_lines(facts) + _rest_lines(facts, config)
    return "\n".join(lines)


def _validation_lines(validation: Mapping[str, Any] | None) -> list[str]:
    lines = ["## Classifier compared with known labels", ""]
    if validation is None:
        return [*lines, "The source names no class of its texts, so how often the classifier is right is unknown.", ""]
    lines += [
        f"Of {count(validation['texts'])} texts with a class named by the source, {_right(validation['accuracy'])} got it "
        "(or one of them). "
        f"Intervals are Wilson's at 95 %, over texts; a share of fewer than {FEW} texts is in brackets.",
        "",
    ]
    return lines + _table(
        ["domain", "named", "labelled", "right", "precision", "recall"],
        [
            (
                _name(row["domain"]),
                *(count(row[key]) for key in ("known", "labelled", "right")),
                _right(row["precision"]),
                _right(row["recall"]),
            )
            for row in validation["domains"]
            if row["known"] or row["labelled"]
        ],
    )


def _right(share: Mapping[str, Any] | None) -> str:
    if share is None:
        return DASH
    right = f"{percent(share['value'])}, {between(share['low'], share['high'])}"
    return right if share["claimed"] else f"({right})"


def _expansion_lines(facts: Mapping[str, Any]) -> list[str]:
    thin = facts["expansion"]
    lines = ["## Expansion of low-resource domains", ""]
    if not thin:
        return [*lines, f"No domain that may be expanded has fewer than {count(facts['floor'])} real prompts.", ""]
    lines += _table(
        ["domain", "real", "floor", "attempts", "accepted", "surplus", "rejected", "still lacks"],
        [
            (
                _name(row["domain"]),
                *(count(row[key]) for key in ("real", "floor", "attempts", "accepted", "surplus")),
                count(sum(row["rejected"].values())),
                count(row["still_lacks"]),
            )
            for row in thin
        ],
    )
    totals = {reason: sum(row["rejected"][reason] for row in thin) for reason in REASONS}
    lines += _table(["reason of rejection", "attempts"], [(reason, count(n)) for reason, n in totals.items()])
    spot = facts["spot_check"]
    return [
        *lines,
        f"{count(spot)} synthetic rows are in spot_check.csv for a person to check; give the number found right with its Wilson "
        "interval. Report results with and without synthetic rows.",
        "",
    ]


def _rest_lines(facts: Mapping[str, Any], config: BuildConfig) -> list[str]:
    rows = facts["rows"]
    lines = ["## Near-duplicates and splits", ""]
    lines += [
        f"{count(rows['dropped'])} real and {count(rows['dropped_synthetic'])} synthetic texts were dropped as near-duplicates; "
        f"dropped.csv names the keeper of each. Pairs within the distance with a synthetic row: {count(facts['synthetic_near'])}.",
        "",
    ]
    lines += _table(
        ["split", "rows", "real", "synthetic"],
        [(name, *(count(facts["splits"][name][key]) for key in ("rows", "real", "synthetic"))) for name in SPLITS],
    )
    lines += [
        "Near-duplicates and all profiles of a prompt share a split. A synthetic row may be in another split than its seeds.",
        "",
        "## Engines",
        "",
    ]
    lines += _table(
        ["role", "spec", "weights", "digest"],
        [(role, e["spec"], e["weights"], e["digest"]) for role, e in facts["engines"].items()],
    )
    lines += ["## Settings", ""]
    values = facts["settings"]
    fields = type(config).model_fields
    lines += _table(
        ["setting", "value", "origin"],
        [
            (name, value, _origin(name, value, fields[name].default))
            for name, value in values.items()
            if name not in ("items", "classifier", "generator", "columns", "licence")
        ],
    )
    lines += [f"- {_cell(warning)}" for warning in facts["warnings"]]
    return [*lines, ""]


def _origin(name: str, value: Any, default: Any) -> str:
    if value != default and list(default if isinstance(default, tuple) else ()) != value:
        return "given"
    return "published" if name in PUBLISHED else "chosen default (not published)"
