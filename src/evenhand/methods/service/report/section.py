"""The section of the service-quality audit, composed from its findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evenhand.methods.service.report.changes import change_table
from evenhand.methods.service.report.figures import heat_map, name_bars
from evenhand.methods.service.report.forest import forest_plot
from evenhand.methods.service.report.index import OUTCOMES, Index
from evenhand.methods.service.report.tables import rate_table, rest_tables, stem_table, trade_off
from evenhand.records import Finding
from evenhand.report.blocks import Block, Details, Note, Panel, Panels
from evenhand.report.page import Section
from evenhand.wording import group_phrase

PROVISIONAL = (
    "The grader has not been checked against human labels, so every number here is provisional: "
    "a difference may be the grader's own, and none is marked as found."
)


def service_section(
    findings: Sequence[Finding],
    *,
    section_id: str = "service",
    title: str = "Service quality",
    stems: Mapping[str, str] | None = None,
    stem_classes: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    primary: str = "declined",
    subject: str = "names associated with",
    calibrated: bool = True,
) -> Section:
    """Heat map, forest plots, name bars, trade-off and stem table, then every other finding as a table.

    Parameters
    ----------
    findings : findings of a run; those of other audits are passed over.
    section_id : prefix of every id in the section, unique on the page.
    stems, stem_classes : texts and classes by stem id, where the findings' ``extra`` does not hold them.
    notes : cautions to print before the figures (missing data, dropped stems, provider refusals).
    primary : the outcome of the first forest plot, of the name bars and of the stem table.
    subject : how a group is cued; "names associated with" or, for the explicit variant, "phrases that name".
    calibrated : False draws no difference as found: the grader's own errors may have made it.
    """
    index = Index(findings)
    configs, groups = index.configs, index.groups(primary)
    if not calibrated:
        notes = (PROVISIONAL, *notes)
    blocks: list[Block] = [Note(text=text, tone="caution") for text in notes]
    panels = [
        Panel(config, tuple(_figures(index, config, primary, groups, f"{section_id}-{i}", subject, calibrated)))
        for i, config in enumerate(configs, start=1)
    ]
    if len(panels) == 1:
        blocks += panels[0].blocks
    elif panels:
        blocks.append(
            Panels(
                id=f"{section_id}-configs",
                title="Configuration",
                panels=tuple(panels),
                opened=configs.index(index.leading(primary)),
            )
        )
    blocks += [
        block
        for block in (
            change_table(index, groups, f"{section_id}-changes"),
            trade_off(index, groups, f"{section_id}-tradeoff"),
            stem_table(index, primary, f"{section_id}-stems", stems or {}, stem_classes or {}),
        )
        if block is not None
    ]
    rest = rest_tables(index, f"{section_id}-rest")
    if rest:
        blocks.append(Details(summary="All other measures", blocks=tuple(rest)))
    if not blocks:
        blocks.append(Note(text="This run holds no findings of this audit."))
    reference = index.reference()
    against = f", against {group_phrase(reference, subject)}" if reference is not None else ""
    lede = f"Which prompts does the model decline, or serve worse, when only the cue of the group changes{against}?"
    return Section(section_id, title, lede, tuple(blocks))


def _figures(
    index: Index, config: str, primary: str, groups: list[str], prefix: str, subject: str, calibrated: bool
) -> list[Block]:
    others = [o for o in index.outcomes() if o != primary]
    folded = [forest_plot(index, config, o, f"{prefix}-difference-{_slug(o)}", subject, calibrated) for o in others]
    more = tuple(block for block in folded if block is not None)
    rates = rate_table(index, config, groups, f"{prefix}-rates")
    made: list[Block | None] = [
        heat_map(index, config, groups, f"{prefix}-heat", subject),
        Details(summary="Rates of every outcome, with intervals", blocks=(rates,)) if rates else None,
        forest_plot(index, config, primary, f"{prefix}-difference", subject, calibrated),
        Details(summary=f"The same for {_listed(others)}", blocks=more) if more else None,
        name_bars(index, config, primary, groups, f"{prefix}-names", subject),
    ]
    return [block for block in made if block is not None]


def _slug(text: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    return kept.strip("-") or "other"


def _listed(outcomes: Sequence[str]) -> str:
    names = [OUTCOMES[o][1].split(":")[0].lower() if o in OUTCOMES else o for o in outcomes]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
