"""The model card of a repaired model: what was done to it, before and after, and what nobody should read into it."""

from __future__ import annotations

from evenhand.files import write_atomically
from evenhand.methods.dart.repair.work import Work
from evenhand.runs.method import AuditResult
from evenhand.wording import percent

_ROWS = (
    ("accuracy", "tolerant", "right answers"),
    ("diff_accuracy", "tolerant", "right where groups differ"),
    ("equal_accuracy", "tolerant", "right where they are alike"),
    ("abstain_rate", "tolerant", "without a conclusion"),
    ("drift_rate", "", "explanations more harmful than before tuning"),
)


def write_card(work: Work, result: AuditResult) -> None:
    """Write ``card.md`` into the run folder and beside every adapter."""
    config = work.config
    names = ["M0", *work.adapters]
    lines = [
        "# Model card: a DART repair", "",
        f"Base model `{config.model}`, adapted by LoRA: distilled from explanations of `{config.teacher}` (told the right labels), "
        f"audited for harm drift by `{config.judge}`, repaired with weights by severity. Protocols: "
        f"{', '.join(config.protocols)}.", "",
        "## Before and after, on the test split", "",
        "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|",
    ]  # fmt: skip
    for estimand, outcome, what in _ROWS:
        cells = []
        for name in names:
            found = next(
                (
                    f
                    for f in result.findings
                    if f.estimand == estimand
                    and f.config == name
                    and not f.slice
                    and f.outcome == (outcome or config.combine)
                ),
                None,
            )
            ends = (
                f" ({percent(found.interval.low, 0)} to {percent(found.interval.high, 0)})"
                if found and found.interval
                else ""
            )
            cells.append(percent(found.estimate) + ends if found else "")
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "In brackets: 95 % intervals, scenarios as the unit. An inductive and a transductive repair are different claims.",
        "",
    ]
    lines += ["## Adapters", "", *(f"- {name}: `{path.name}`" for name, path in work.adapters.items()), ""]
    states = result.facts["protocols"].items()
    became = [f"- {protocol}: {state['status']}" for protocol, state in states] or ["- none was made"]
    lines += ["## What became of the repair", "", *became, ""]
    lines += ["## Limits", "", *(f"- {text.removeprefix('ERROR ')}" for text in result.caveats), ""]
    text = "\n".join(lines).encode("utf-8")
    write_atomically(work.run.folder / "card.md", text)
    for path in work.adapters.values():
        write_atomically(path / "card.md", text)
