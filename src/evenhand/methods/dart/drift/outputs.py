"""Outputs of two models on the same cases, paired without losing any: from engines, or from two files of responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evenhand.datasets.table import as_table, resolve
from evenhand.errors import BadInput
from evenhand.methods.dart.difference.data.cases import Case, read_cases
from evenhand.records import Item, Response

Key = tuple[str, int]
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Output:
    """What one model said on one case, in one repetition; ``failed`` says why there is no text."""

    text: str
    finish_reason: str = "stop"
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Outputs:
    """One model's outputs by (case id, repetition), and how they were drawn, for the check that both sides agree.

    ``decoding`` is None where a file of responses does not say.
    """

    label: str
    rows: Mapping[Key, Output]
    decoding: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Keys that both models answered, in a fixed order, and those that one of them lacks or failed on."""

    keys: tuple[Key, ...]
    failed: tuple[Key, ...]


def outputs_from(
    label: str, items: Sequence[Item], responses: Sequence[Response], decoding: Mapping[str, object]
) -> Outputs:
    """The responses of one configuration, by the case that their item asks."""
    case = {item.id: item.attributes["case"] for item in items}
    rows = {
        (case[r.item_id], r.repetition): Output(r.text, r.finish_reason, r.error if r.finish_reason == "error" else "")
        for r in responses
        if r.config == label
    }
    return Outputs(label, rows, decoding)


def read_outputs(path: Path, mapping: Mapping[str, str] | None = None) -> tuple[list[Case], Outputs]:
    """Cases and outputs of a file with one response a row: ``prompt``, ``response``, and where there are any ``id``,
    ``repetition`` and the columns of a case (gold, benchmark, group, scenario).

    A response that is null failed; an empty one is an empty text. Raises BadInput, naming the row, for a missing column, an
    empty prompt or id, a repetition that is no number, a row that stands twice, one id under two prompts, and rows as in
    ``read_cases``.
    """
    table = as_table(path)
    given = dict(mapping or {})
    columns = resolve(
        table, {key: value for key, value in given.items() if key in ("response", "repetition", "id")},
        required=("response",), optional=("repetition", "id"),
        aliases={"response": ("output", "text", "completion"), "id": ("row_id", "sample_id", "item_id")},
    )  # fmt: skip
    columns |= resolve(
        table, {"prompt": given["prompt"]} if "prompt" in given else None, required=("prompt",),
        aliases={"prompt": [name for name in ("question", "text") if name != columns["response"]]},
    )  # fmt: skip
    rows: dict[Key, Output] = {}
    firsts: dict[str, int] = {}
    prompts: dict[str, str] = {}
    for number, row in enumerate(table.rows(), start=1):

        def wrong(what: str, do: str = "", number: int = number) -> BadInput:
            return table.error(what, number, do=do or None)

        case = (row[columns["id"]] or "").strip() if "id" in columns else f"row-{number}"
        told = (row[columns["repetition"]] or "0").strip() if "repetition" in columns else "0"
        prompt, text = row[columns["prompt"]] or "", row[columns["response"]]
        if not case:
            raise wrong("The id is empty.")
        if not prompt.strip():
            raise wrong("The prompt is empty.", "Leave it out of both files.")
        if not told.isdecimal() or len(told) > _DIGITS:
            raise wrong(f"The repetition '{told}' is no number.", "Count from 0.")
        key = (case, int(told))
        if key in rows:
            raise wrong(f"The response of '{case}', repetition {told}, stands twice.")
        if prompts.setdefault(case, prompt) != prompt:
            raise wrong(f"The id '{case}' stands for another prompt than in row {firsts[case]}.")
        rows[key] = Output(text or "", failed="" if text is not None else "the response is missing")
        firsts.setdefault(case, number)
    once = table.frame[[number - 1 for number in firsts.values()]]
    rest = {key: value for key, value in given.items() if key not in ("response", "repetition")}
    try:
        read = read_cases(replace(table, frame=once), {**rest, "prompt": columns["prompt"]})
    except BadInput as error:  # its rows are those of the cases, not those of the file
        row_there = None if error.row is None else list(firsts.values())[error.row - 1]
        raise BadInput(error.what, file=error.file, row=row_there, do=error.do) from None
    cases = [replace(case, id=case_id) for case_id, case in zip(firsts, read.cases, strict=True)]
    return cases, Outputs(path.stem, rows)


def pair_up(cases: Sequence[Case], baseline: Outputs, candidate: Outputs) -> Pairing:
    """Pair two models' outputs on the same cases and repetitions.

    Raises BadInput where decoding differs, where a side has outputs that the other lacks, or outputs of unknown cases: an
    audit on what happens to match would hide it. Failed outputs are told apart, not dropped in silence.
    """
    if baseline.decoding is not None and candidate.decoding is not None and baseline.decoding != candidate.decoding:
        changed = sorted(k for k in baseline.decoding if baseline.decoding[k] != candidate.decoding.get(k))
        raise BadInput(
            f"{baseline.label} and {candidate.label} were decoded differently ({', '.join(changed)}).",
            do="Draw both with the same settings: harm drift is defined under identical decoding.",
        )
    known = {case.id for case in cases}
    a, b = set(baseline.rows), set(candidate.rows)
    only = (sorted(a - b), sorted(b - a), sorted(key for key in a | b if key[0] not in known))
    if any(only):
        raise BadInput(
            f"The outputs do not match: {len(only[0])} only of {baseline.label}, {len(only[1])} only of {candidate.label}, "
            f"{len(only[2])} of cases that are not known; for example {next(keys[0] for keys in only if keys)}.",
            do="Give both models' responses to the same prompts and repetitions.",
        )
    order = {case.id: k for k, case in enumerate(cases)}
    keys = sorted(a, key=lambda key: (order[key[0]], key[1]))
    failed = tuple(key for key in keys if baseline.rows[key].failed or candidate.rows[key].failed)
    lost = set(failed)
    return Pairing(tuple(key for key in keys if key not in lost), failed)
