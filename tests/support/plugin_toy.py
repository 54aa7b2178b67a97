"""The run of a method that nothing is known of: what a plug-in leaves behind when it is no longer installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evenhand.records import Finding, Grade, HypothesisTest, Interval, Item, Message, Response
from evenhand.runs.method import AuditResult, Headline, Verdict
from evenhand.runs.run import Run
from evenhand.runs.tables import grades_frame, items_frame, responses_frame, write_table

NAME = "theirs"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202e\x1b[31m"


def finding(estimand: str = "share_of_cake", group: str | None = "a", **more: object) -> Finding:
    """A finding of the method; ``more`` replaces its fields."""
    values: dict[str, object] = {
        "id": f"{NAME}/m/{estimand}/{group}", "audit": NAME, "estimand": estimand, "outcome": "cake", "config": "m",
        "group": group, "reference": "b", "estimate": 0.25, "unit": "probability", "n": 4,
        "interval": Interval(0.1, 0.4, 0.95, "toy"), "test": HypothesisTest(0.01, "toy", p_holm=0.04),
        "evidence": {"table": "grades", "config": ["m"], "group": [group]},
    }  # fmt: skip
    return Finding(**{**values, **more})  # type: ignore[arg-type]


def write_run(
    folder: Path,
    findings: Sequence[Finding] = (finding(), finding(group="b")),
    *,
    name: str = NAME,
    text: str = HOSTILE,
    rows: bool = True,
) -> Path:
    """A finished run of the method ``name``: two items, of the groups a and b, the second with a harmful answer."""
    plan = {"audits": [name], "identities": {"m": {"spec": "toy/m", "digest": "0" * 32}}}
    run = Run.start(folder, plan, resume=False)
    items = [Item(f"i{k}", name, (Message("user", f"ask {text}"),), group) for k, group in enumerate("ab")]
    responses = [Response("m", item.id, 0, f"reply {text}", "stop") for item in items]
    labels = ("answer", "harmful answer")
    grades = [Grade("m", item.id, 0, "toy", label) for item, label in zip(items, labels, strict=True)]  # type: ignore[arg-type]
    frames = {"items": items_frame(items), "responses": responses_frame(responses), "grades": grades_frame(grades)}
    for table, frame in frames.items() if rows else ():
        write_table(run.table(name, table), frame)
    verdict = Verdict(
        "m", "worse", f"headline {text}", "detail", also=("also this",), unknowns=("unknown",), advice="Label:"
    )
    result = AuditResult(
        name, [verdict], findings, [Headline("cake", "25%")], 2, 0, [("made", "by hand")], ["a caveat"]
    )
    run.record(result)
    run.finish()
    run.release()
    return folder
