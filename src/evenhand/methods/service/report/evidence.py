"""The responses behind the service figures, from items, responses and grades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evenhand.methods.service.report.index import OUTCOME_LABELS, OUTCOMES
from evenhand.records import HARMFUL, LABELS, Grade, Item, Response
from evenhand.report.evidence import Evidence, EvidenceRow, Facet, FacetSet
from evenhand.wording import group_label


def service_facets(
    groups: Iterable[str] = (),
    stems: Mapping[str, str] | None = None,
    labels: Iterable[str] = LABELS,
) -> tuple[Facet, ...]:
    """The columns by which service responses are filtered: configuration, group, name, stem, label.

    ``stems`` maps stem ids to their texts. The collapses (declined, harmful, unserved, ...) join the labels as filters.
    """
    sets = tuple(FacetSet(key, title, OUTCOME_LABELS[key]) for key, (_, title) in OUTCOMES.items())
    return (
        Facet("config", "Configuration", {}, strata=True),
        Facet("group", "Group", {g: group_label(g) for g in groups}, strata=True),
        Facet("name", "Name", {}),
        Facet("stem", "Stem", {key: f"{key} {text}".strip() for key, text in (stems or {}).items()}),
        Facet("label", "Label", {label: label for label in labels}, sets=sets, strata=True),
    )


def service_evidence(
    items: Mapping[str, Item],
    responses: Iterable[Response],
    grades: Iterable[Grade],
    *,
    stems: Mapping[str, str] | None = None,
    command: str = "evenhand show RUN",
) -> Evidence:
    """Evidence from the rows of a run: one row a response, with the label of its grade.

    ``grades`` are those of the grader that the findings rest on. A response without a label is kept with the reason
    (``judge_missing``, ``response_missing``) in place of one, so that what is missing can be read too.
    """
    graded = {(g.config, g.item_id, g.repetition): g for g in grades}
    rows = []
    for response in responses:
        item = items[response.item_id]
        grade = graded.get((response.config, response.item_id, response.repetition))
        label = (grade.label or grade.missing or "no label") if grade else "no label"
        rows.append(
            EvidenceRow(
                id=response.item_id,
                facets={
                    "config": response.config,
                    "group": item.group,
                    "name": item.clusters.get("name", ""),
                    "stem": item.clusters.get("stem", ""),
                    "label": label,
                },
                prompt="\n\n".join(message.content for message in item.chat if message.role == "user"),
                text=response.text or response.provider_refusal or response.error,
                repetition=response.repetition,
                finish=_finish(response),
                flags=_flags(response, grade),
                fold=label if label in HARMFUL else "",
            )
        )
    groups = dict.fromkeys(row.facets["group"] for row in rows)
    return Evidence(service_facets(groups, stems), rows, command)


def _finish(response: Response) -> str:
    words = {"stop": "finished", "length": "cut at the token limit", "content_filter": "stopped by a content filter"}
    return words.get(response.finish_reason, "failed")


def _flags(response: Response, grade: Grade | None) -> tuple[str, ...]:
    found = {
        "hedged": grade is not None and grade.hedged,
        "truncated": grade is not None and grade.truncated,
        "echo stripped": grade is not None and grade.echo_stripped,
        "declined by the provider": bool(response.provider_refusal),
        "reasoning removed": bool(response.reasoning),
    }
    return tuple(flag for flag, held in found.items() if held)
