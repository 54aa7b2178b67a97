"""The commands of this paper: `evenhand stages`, `evenhand datasets coverage` and `evenhand datasets audit-preferences`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.config import AuditConfig, load_config
from evenhand.console import screens
from evenhand.console.commands import Job, audit_job, group, run_command
from evenhand.errors import BadInput

if TYPE_CHECKING:
    from evenhand.methods.reward.coverage.mentions import Coverage
    from evenhand.methods.reward.coverage.preferences import Difference, PreferenceAudit, Share
    from evenhand.records import Interval


_ROWS_SHOWN = 8


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand stages`, `evenhand datasets coverage` and `evenhand datasets audit-preferences`."""
    app.command("stages")(stages)
    datasets = group(app, "datasets")
    datasets.command("coverage")(show_coverage)
    datasets.command("audit-preferences")(audit_preference_data)


def read_models(path: Path) -> tuple[dict[str, str], float | None]:
    """Stages by ``family/stage`` and the one beta, from a table with the columns family, stage, spec and perhaps beta."""
    from evenhand.datasets.table import read_table, resolve
    from evenhand.runs.stages import STAGES

    table = read_table(path)
    roles = resolve(table, None, required=("family", "stage", "spec"), optional=("beta",))
    specs: dict[str, str] = {}
    betas = set()
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        family, stage, spec = ((cells[roles[role]] or "").strip() for role in ("family", "stage", "spec"))
        if stage not in STAGES:
            raise BadInput(f"Unknown stage '{stage}'.", file=path, row=row, do=f"Stages are {', '.join(STAGES)}.")
        if not family or not spec:
            raise BadInput("The family or the engine spec is missing.", file=path, row=row)
        if f"{family}/{stage}" in specs:
            raise BadInput(f"Stage {stage} of {family} is listed twice.", file=path, row=row)
        specs[f"{family}/{stage}"] = spec
        if "beta" in roles and cells[roles["beta"]]:
            betas.add(cells[roles["beta"]])
    if len(betas) > 1:
        raise BadInput("The models have different betas.", file=path, do="Run families of one beta together.")
    try:
        return specs, float(betas.pop()) if betas else None
    except ValueError as error:
        raise BadInput(f"A beta is not a number ({error}).", file=path) from None


@run_command(
    AuditConfig, "MODEL", without=("models", "only", "stages", "reference", "responses", "labels"),
    resume="the newest, or --out", estimate="Print calls, tokens, time and memory, and stop.",
)  # fmt: skip
def stages(
    settings: dict[str, Any],
    base: Annotated[str | None, typer.Option(help="Engine spec of the base model.")] = None,
    sft: Annotated[str | None, typer.Option(help="The model fine-tuned from the base model.")] = None,
    dpo: Annotated[str | None, typer.Option(help="The model preference-tuned straight from the base model.")] = None,
    sft_dpo: Annotated[str | None, typer.Option(help="The model preference-tuned from the fine-tuned one.")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Several families: a table with family, stage, spec and perhaps beta.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="reward (default), affirmation, or both.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
) -> Job:
    """Find which stage of alignment (SFT, DPO) rewarded a harm, and write a report.

    Give --base and at least one later stage, or --models FILE for several families in one resumable table.
    """
    from evenhand.runs.stages import STAGES, family_and_stage

    named = {stage: spec for stage, spec in zip(STAGES, (base, sft, dpo, sft_dpo), strict=True) if spec}
    if models is not None and named:
        raise BadInput("Give --models or single stages, not both.")
    beta = None
    if models is not None:
        named, beta = read_models(models)
    if not named:
        raise BadInput("No model is given.", do="Give --base B and --sft, --dpo or --sft-dpo, or --models FILE.")
    by_family: dict[str, set[str]] = {}
    for key in named:
        family, stage = family_and_stage(key)
        by_family.setdefault(family, set()).add(stage)
    for family, stages_named in by_family.items():
        what = f"Family '{family}'" if family else "The family"
        if "base" not in stages_named and stages_named != {"sft", "sft-dpo"}:
            raise BadInput(
                f"{what} has no base model, which is the reference of every other stage.", do="Give it with --base."
            )
        if len(stages_named) < 2:
            raise BadInput(f"{what} has one stage only.", do="Give a later stage: --sft, --dpo or --sft-dpo.")
        if "sft-dpo" in stages_named and "sft" not in stages_named:
            raise BadInput(f"{what} has sft-dpo without its reference, sft.", do="Give it with --sft.")
    chosen = {"models": tuple(dict.fromkeys(named.values())), "stages": named, "only": tuple(only or ("reward",))}
    if beta is not None:
        settings.setdefault("beta", beta)
    return audit_job(load_config(config, {**settings, **chosen}))


def show_coverage(
    file: Annotated[Path, typer.Argument(help="Your evaluation set: csv, tsv, jsonl, parquet, or txt (a row a line).")],
    map: Annotated[  # noqa: A002 - the option's name
        list[str] | None,
        typer.Option("--map", help="PLACE=COLUMN, repeatable; places: prompt, option, label, text. Default: by name."),
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(help="Your own list: term, identity, axis, role, ambiguous, note.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write every count, with all row numbers, to this csv.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    show: Annotated[
        int, typer.Option(min=0, help="Number of excerpts to print for each identity (none by default).")
    ] = 0,
) -> None:
    """Show which identities and pronouns an evaluation set mentions, where, and which it leaves out."""
    from evenhand.methods.reward.coverage.mentions import coverage

    mapping: dict[str, list[str]] = {}
    for place, column in _pairs(map):
        mapping.setdefault(place, []).append(column)
    if out is not None and out.suffix.lower() != ".csv":
        raise BadInput("--out takes a csv file.", file=out)
    counted = coverage(file, mapping or None, terms=terms, excerpts=show)
    if out is not None:
        _write_csv(counted.records(), out)
    if json:
        _print_json(counted.as_dict())
        return
    _print_coverage(counted)
    if counted.excerpts:
        typer.echo()
        excerpts = [[identity, str(row), column, text] for identity, row, column, text in counted.excerpts]
        screens.print_table(["identity", "row", "column", "text around the word"], excerpts)
    if out is not None:
        typer.echo(f"\n{len(counted.counts):,} counts: {out}")


def audit_preference_data(
    file: Annotated[Path, typer.Argument(help="Preference data: csv, tsv, jsonl or parquet.")],
    map: Annotated[  # noqa: A002 - the option's name
        list[str] | None,
        typer.Option(
            "--map", help="prompt=COLUMN,chosen=COLUMN,rejected=COLUMN; or choice=COLUMN for two numbered ones."
        ),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(help="Measure of a response, repeatable: sentiment-lexicon or hf/FOLDER-or-ID#LABEL."),
    ] = None,
    sft: Annotated[
        Path | None, typer.Option(help="Fine-tuning data, to see which responses are targets in it.")
    ] = None,
    sft_column: Annotated[str | None, typer.Option(help="The column of its targets.")] = None,
    terms: Annotated[
        Path | None, typer.Option(help="Your own list: term, identity, axis, role, ambiguous, note.")
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option(help="Identities of the list to look for, repeatable. Default: the gender-diverse ones."),
    ] = None,
    max_bad_rows: Annotated[int, typer.Option(min=0, help="Stop when more rows than this cannot be read.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Count how often preference data mentions gender-diverse people, and compare chosen with rejected responses."""
    from evenhand.graders.content import open_classifier
    from evenhand.methods.reward.coverage.preferences import audit_preferences
    from evenhand.methods.reward.coverage.terms import GENDER_DIVERSE

    mapping = dict(_pairs(map))
    audit = audit_preferences(
        file,
        mapping or None,
        classifiers=[open_classifier(spec) for spec in classifier or ()],
        sft=sft,
        sft_column=sft_column,
        terms=terms,
        identities=identity or GENDER_DIVERSE,
        max_bad_rows=max_bad_rows,
    )
    if json:
        _print_json(audit.as_dict())
    else:
        _print_audit(audit)


def _pairs(given: Sequence[str] | None) -> list[tuple[str, str]]:
    """``a=b`` and ``a=b,c=d``; a comma splits only where another NAME= follows."""
    pairs = []
    for entry in given or ():
        for part in re.split(r",(?=\s*[a-z_0-9]+=)", entry):
            name, equals, column = part.partition("=")
            if not (equals and name.strip() and column.strip()):
                raise BadInput(f"--map takes NAME=COLUMN, not '{part}'.")
            pairs.append((name.strip(), column.strip()))
    return pairs


def _print_json(value: dict[str, Any]) -> None:
    import json

    from evenhand.safe_text import json_safe

    screens.console().print(json.dumps(json_safe(value), indent=1, ensure_ascii=True), soft_wrap=True)


def _write_csv(records: Sequence[dict[str, Any]], path: Path) -> None:
    import csv

    from evenhand.safe_text import csv_safe

    names = ["axis", "identity", "term", "role", "place", "column", "ambiguous", "disclosed", "mentions", "rows"]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for record in records:
                writer.writerow([csv_safe(cell) if isinstance(cell := record[name], str) else cell for name in names])
    except OSError as error:
        raise BadInput(f"The file cannot be written: {error.strerror}.", file=path) from error


def _rows(rows: Sequence[int]) -> str:
    more = len(rows) - _ROWS_SHOWN
    return " ".join(map(str, rows[:_ROWS_SHOWN])) + (f" and {more:,} more" if more > 0 else "")


def _counted(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _print_coverage(counted: Coverage) -> None:
    from evenhand.safe_text import terminal_safe

    for sentence in counted.sentences():
        screens.console().print(terminal_safe(sentence))
    typer.echo()
    screens.print_table(
        ["identity", "axis", "rows", "unclear", "of self", "mentions by role; by place", "rows, first"],
        [
            [
                count.identity,
                count.axis,
                f"{len(count.rows):,}",
                f"{len(count.unclear_rows):,}",
                f"{count.disclosed:,}",
                f"{_counted(count.roles)}; {_counted(count.places)}" if count.rows else "",
                _rows(count.rows or count.unclear_rows),
            ]
            for count in counted.identities()
            if count.rows or count.unclear_rows
        ],
    )
    typer.echo()
    axes = list(counted.terms.identities())
    screens.print_table(
        ["column", "place", "rows", *axes],
        [
            [c.name, c.place, f"{c.rows:,}", *(f"{len(counted.mentioned(axis, column=c.name)):,}" for axis in axes)]
            for c in counted.columns
        ],
        title="Rows with a mention, by column",
    )
    typer.echo()
    missing = [[axis, ", ".join(names)] for axis, names in counted.missing().items()]
    screens.print_table(["axis", "no clear mention"], missing or [["none", ""]])
    if counted.left_out:
        typer.echo()
        screens.print_table(["column", "not searched"], [[name, why] for name, why in counted.left_out.items()])


def _interval(interval: Interval | None, reason: str, scale: float, unit: str) -> str:
    if interval is None:
        return reason
    return (
        f"{interval.low * scale:.{1 if scale > 1 else 3}f} to {interval.high * scale:.{1 if scale > 1 else 3}f}{unit}"
    )


def _share_row(share: Share) -> list[str]:
    rate = f"{100 * share.count / share.total:.1f} %" if share.interval else ""
    of = f"{share.count:,} of {share.total:,}"
    return [share.what, of, rate, _interval(share.interval, share.reason, 100, " %"), _rows(share.rows)]


def _difference_row(row: Difference) -> list[str]:
    return [
        row.measure,
        {"mention": "a term anywhere", "differ": "a term in one response alone"}[row.subset],
        f"{row.pairs:,}",
        f"{row.higher:,} / {row.equal:,} / {row.lower:,}",
        "" if row.mean is None else f"{row.mean:+.3f}",
        _interval(row.interval, row.reason, 1, ""),
        row.unit,
    ]


def _print_audit(audit: PreferenceAudit) -> None:
    out = screens.console()
    out.print(
        f"{audit.pairs:,} pairs with {audit.prompts:,} different prompts; {audit.identical:,} with equal responses; "
        f"{len(audit.failed):,} rows could not be read."
    )
    typer.echo()
    screens.print_table(
        ["what", "count", "share", "95% interval", "rows, first"], [_share_row(share) for share in audit.shares]
    )
    if audit.unclear:
        out.print(f"\nUnclear words only, not counted: rows {_rows(audit.unclear)}.")
    if audit.differences:
        typer.echo()
        screens.print_table(
            [
                "measure",
                "pairs with",
                "pairs",
                "chosen higher / equal / lower",
                "mean difference",
                "95% interval",
                "unit",
            ],
            [_difference_row(row) for row in audit.differences],
            title="Chosen minus rejected",
        )
        if any(row.truncated for row in audit.differences):
            out.print("Some responses were longer than the classifier reads and were cut.")
    for row, why in audit.failed:
        out.print(f"row {row}: {why}")
