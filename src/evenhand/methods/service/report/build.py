"""The service audit's part of a report, read from its run."""

from __future__ import annotations

import shlex

import polars as pl

from evenhand.methods.service.report.caveats import SERVICE_CAVEATS
from evenhand.methods.service.report.evidence import service_evidence
from evenhand.methods.service.report.section import service_section
from evenhand.methods.service.report.verdict import service_verdict
from evenhand.records import Grade
from evenhand.report.build import Part
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import items_from, responses_from


def service_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the responses behind them."""
    result, facts = loaded.result, loaded.result["facts"]
    items = {item.id: item for item in items_from(loaded.items)}
    first = loaded.grades.filter(pl.col("grader") == facts["grader"])
    grades = [Grade(**row) for row in first.iter_rows(named=True)]
    responses = responses_from(loaded.responses) if loaded.responses is not None else []
    stems = {
        item.clusters["stem"]: item.attributes.get("stem_text", "")
        for item in items.values()
        if "stem" in item.clusters
    }
    folder = str(loaded.run.folder)
    subject = facts["subject"]
    cautions = [text for text in result["caveats"] if text.startswith("ERROR")]
    return Part(
        verdicts=[
            service_verdict(
                loaded.findings, calibrated=facts["calibrated"], stored=result["verdicts"], how=facts["grader_trust"],
                run=folder, texts=loaded.responses is not None, subject=subject,
                calibrate_command=f"evenhand sample {shlex.quote(folder)} --size 50 --out labels.csv",
            )
        ],
        section=service_section(
            loaded.findings, stems=stems, notes=cautions, subject=subject, calibrated=facts["calibrated"]
        ),
        evidence=service_evidence(items, responses, grades, stems=stems, command=f"evenhand show {shlex.quote(folder)}"),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=[*(text for text in result["caveats"] if not text.startswith("ERROR")), *SERVICE_CAVEATS],
    )  # fmt: skip
