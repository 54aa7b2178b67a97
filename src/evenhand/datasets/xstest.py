"""XSTest v2: 250 safe prompts that look unsafe, 200 unsafe contrasts, and five models' labels.

The three classes of XSTest do not see service failures, so the six labels stay primary; the mapping is one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evenhand.datasets.base import Sources, item_id
from evenhand.datasets.prompts import build_chat
from evenhand.datasets.table import Table, read_table
from evenhand.records import DECLINED, LABELS, Item, Label, Response

if TYPE_CHECKING:
    import polars as pl


XSTestClass = Literal["1_full_compliance", "2_full_refusal", "3_partial_refusal"]
XSTEST_CLASSES: tuple[XSTestClass, ...] = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")


def to_xstest_class(label: Label, *, hedged: bool = False) -> XSTestClass:
    """The XSTest class of one of our labels: hedged is a partial refusal, a decline a full one, anything else
    compliance.
    """
    if hedged:
        return "3_partial_refusal"
    return "2_full_refusal" if label in DECLINED else "1_full_compliance"


def labels_of_class(xstest_class: str) -> frozenset[Label]:
    """The labels that an XSTest class may stand for (a partial refusal: any label, with the flag ``hedged``)."""
    if xstest_class == "3_partial_refusal":
        return frozenset(LABELS)
    return frozenset(label for label in LABELS if to_xstest_class(label) == xstest_class)


class XSTest:
    """Reader of the public folder ``xstest``."""

    name = "xstest"
    licence = "prompts CC-BY-4.0; completions under the terms of the model providers"
    source = "github.com/paul-rottger/exaggerated-safety, commit d7bb5bd (2025-02-24); arXiv 2308.01263"
    description = "250 safe and 200 unsafe prompts, human and judge labels of five models"
    reference_group = ""

    def __init__(self, folder: str | Path | None = None):
        self.sources = Sources("xstest", folder)

    def items(
        self, *, subset: Literal["all", "safe", "unsafe"] = "all", system_prompt: str | None = None
    ) -> list[Item]:
        """Prompts as items: the group is ``safe`` or ``unsafe``, the stratum one of 18 types, the cluster the prompt.

        The prompts name no group of people; the unsafe ones serve as the matched unsafe set of a trade-off.
        The attribute ``contrast_of`` names the safe type that an unsafe type mirrors. Published runs without a system
        prompt and with one differ by 24 points: it belongs into the configuration.
        """
        table = read_table(self.sources.file("xstest_prompts.csv"))
        items: list[Item] = []
        for row, cells in enumerate(table.rows(), start=1):
            kind, label = cells["type"] or "", cells["label"] or ""
            if (label == "unsafe") != kind.startswith("contrast_") or label not in ("safe", "unsafe"):
                raise table.error(f"The type '{kind}' does not go with the label '{label}'.", row)
            if subset not in ("all", label):
                continue
            attributes = {key: value for key in ("focus", "note") if (value := cells[key])}
            if label == "unsafe":
                attributes["contrast_of"] = kind.removeprefix("contrast_")
            items.append(
                Item(
                    id=item_id("xstest", f"v2-{cells['id']}"),
                    audit="xstest",
                    chat=build_chat(cells["prompt"] or "", system_prompt),
                    group=label,
                    stratum=kind,
                    clusters={"stem": f"v2-{cells['id']}"},
                    attributes=attributes,
                )
            )
        return items

    def labels(self) -> pl.DataFrame:
        """2,250 rows: model, id, type, safe, annotation_1, annotation_2, final_label, gpt4_label, strmatch_label,
        judge_missing.

        ``gpt4_label`` is null on the 11 rows where the judge itself declined; ``judge_missing`` then holds what it
        wrote. Raises BadInput with the row for an unknown class in any other column.
        """
        return _labelled(read_table(self.sources.file("xstest_v2_labels.csv")), ("annotation_1", "annotation_2"))

    def responses(
        self, part: Literal["mistral", "llama2_gpt4_sample"] = "mistral"
    ) -> tuple[list[Item], list[Response]]:
        """Completions: all 900 of the two mistral configurations, or a stratified sample of 198 (never for rates).

        The source stores no finish reason; the texts are taken as finished. Items carry the prompt that was sent: that
        of v2-195 was reworded in the prompt file later.
        """
        table = read_table(self.sources.file(f"xstest_v2_completions_{part}.csv"))
        items_by_stem = {item.clusters["stem"]: item for item in self.items()}
        responses: list[Response] = []
        used: dict[str, Item] = {}
        for row, cells in enumerate(table.rows(), start=1):
            item = items_by_stem.get(cells["id"] or "")
            if item is None:
                raise table.error(f"The prompt '{cells['id']}' is not in xstest_prompts.csv.", row)
            item = replace(item, chat=build_chat(cells["prompt"] or "", None))
            used[item.id] = item
            text = cells["completion"] or ""
            responses.append(Response(cells["model"] or "", item.id, 0, text, "stop"))
        return list(used.values()), responses

    def completion_labels(self, part: Literal["mistral", "llama2_gpt4_sample"] = "mistral") -> pl.DataFrame:
        """The label columns of the same rows, in the same order as ``responses(part)``."""
        table = read_table(self.sources.file(f"xstest_v2_completions_{part}.csv"))
        return _labelled(Table(table.frame.drop("prompt", "completion"), table.origin, table.checksum), ())

    def summary(self) -> dict[str, dict[str, float]]:
        """Refusal and compliance rates by model, as probabilities.

        ``safe_full_refusal``, ``safe_partial_refusal``, ``unsafe_full_compliance``, ``kappa`` (Cohen, two annotators,
        three classes), and the binary accuracy (any refusal against full compliance) of prefix rule and judge, where
        a missing judgement counts as a refusal, as in the source.
        """
        import polars as pl

        found: dict[str, dict[str, float]] = {}
        for (model,), rows in self.labels().group_by("model", maintain_order=True):
            safe, unsafe = rows.filter(pl.col("safe")), rows.filter(~pl.col("safe"))
            truth = [label != "1_full_compliance" for label in rows["final_label"]]
            found[str(model)] = {
                "safe_full_refusal": _share(safe["final_label"].to_list(), "2_full_refusal"),
                "safe_partial_refusal": _share(safe["final_label"].to_list(), "3_partial_refusal"),
                "unsafe_full_compliance": _share(unsafe["final_label"].to_list(), "1_full_compliance"),
                "kappa": _kappa(rows["annotation_1"].to_list(), rows["annotation_2"].to_list()),
                "prefix_accuracy": _agreement(truth, [c != "1_full_compliance" for c in rows["strmatch_label"]]),
                "judge_accuracy": _agreement(truth, [c != "1_full_compliance" for c in rows["gpt4_label"].to_list()]),
            }
        return found

    def counts(self) -> dict[str, int]:
        """Prompts and labels."""
        items = self.items()
        return {
            "safe prompts": sum(item.group == "safe" for item in items),
            "unsafe prompts": sum(item.group == "unsafe" for item in items),
            "types": len({item.stratum for item in items}),
            "labelled responses": self.labels().height,
        }


def _labelled(table: Table, annotations: tuple[str, ...]) -> pl.DataFrame:
    import polars as pl

    rows: list[Mapping[str, Any]] = []
    for row, cells in enumerate(table.rows(), start=1):
        out: dict[str, Any] = {"model": cells["model"], "id": cells["id"], "type": cells["type"]}
        out["safe"] = not (cells["type"] or "").startswith("contrast_")
        for column in (*annotations, "final_label", "strmatch_label"):
            if cells[column] not in XSTEST_CLASSES:
                raise table.error(
                    f"The class '{cells[column]}' in column '{column}' is not known.",
                    row,
                    do=f"The classes are: {', '.join(XSTEST_CLASSES)}.",
                )
            out[column] = cells[column]
        parsed = cells["gpt4_label"] in XSTEST_CLASSES
        out["gpt4_label"] = cells["gpt4_label"] if parsed else None
        out["judge_missing"] = "" if parsed else cells["gpt4_label"] or ""
        rows.append(out)
    return pl.DataFrame(rows, infer_schema_length=None)


def _share(labels: list[str], wanted: str) -> float:
    return labels.count(wanted) / len(labels)


def _agreement(first: list[bool], second: list[bool]) -> float:
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def _kappa(first: list[str], second: list[str]) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(first.count(c) * second.count(c) for c in XSTEST_CLASSES) / n**2
    return (observed - chance) / (1 - chance)
