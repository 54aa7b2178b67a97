"""Preference pairs and fine-tuning targets from tables of the usual shapes: a prompt and two responses a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evenhand.datasets.table import Table, as_table, resolve
from evenhand.text_input import json_or

_INDEXED = ("response_0", "response_1")
_CHOICES = ("better_response_id", "safer_response_id")
_HUMAN, _TURN = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair: data row (from 1), prompt ("" where the data has none), and the preferred and the other response."""

    row: int
    prompt: str
    chosen: str
    rejected: str


def read_preferences(
    source: Any, mapping: Mapping[str, str] | None = None, *, max_bad_rows: int = 10
) -> tuple[list[Preference], tuple[tuple[int, str], ...], Table]:
    """Pairs of a table, the rows that could not be read, and the table.

    Columns: ``chosen`` and ``rejected``, perhaps ``prompt``; or ``response_0``, ``response_1`` and the column that holds
    0 or 1 for the preferred one (role ``choice``). A cell is plain text, a dialogue with "Human:" and "Assistant:" turns,
    or a JSON list of messages with role and content; of the last two, the last turn is the response and the rest the
    prompt. Raises BadInput with file and row after more than ``max_bad_rows`` bad rows, where columns are missing, where
    two columns may hold the choice, and where no row is left.
    """
    table = as_table(source)
    roles = _roles(table, dict(mapping or {}))
    pairs: list[Preference] = []
    failed: list[tuple[int, str]] = []
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        try:
            pairs.append(_pair(row, {role: cells[column] for role, column in roles.items()}))
        except ValueError as error:
            failed.append((row, str(error)))
            if len(failed) > max_bad_rows:
                raise table.error(
                    f"{failed[0][1]} (the first of {len(failed)} bad rows: {', '.join(str(bad) for bad, _ in failed)})",
                    failed[0][0],
                    do="Check the columns with --map, or allow more with --max-bad-rows.",
                ) from None
    if not pairs:
        raise table.error(f"No row could be read: {failed[0][1]}", failed[0][0])
    return pairs, tuple(failed), table


def read_targets(source: Any, column: str | None = None) -> list[str]:
    """The fine-tuning targets of a table: one column of responses or dialogues (their last turn).

    ``column`` names it; else response, completion, output, target, messages or chosen. Raises BadInput with the row.
    """
    table = as_table(source)
    names = ("response", "completion", "output", "target", "messages", "chosen")
    roles = resolve(table, {"sft": column} if column else None, required=("sft",), aliases={"sft": names})
    found = []
    for row, cell in enumerate(table.frame[roles["sft"]], start=1):
        try:
            found.append(_split(cell)[1])
        except ValueError as error:
            raise table.error(str(error), row) from None
    return found


def _roles(table: Table, mapping: dict[str, str]) -> dict[str, str]:
    columns = table.frame.columns
    indexed = "choice" in mapping or (not {"chosen", "rejected"} & set(mapping) and "chosen" not in columns)
    if indexed and all(mapping.get(name, name) in columns for name in _INDEXED):
        there = [name for name in _CHOICES if name in columns]
        if "choice" not in mapping and len(there) > 1:
            raise table.error(
                f"Both {' and '.join(there)} say which response is preferred.",
                do="Choose one: --map choice=better_response_id (helpfulness) or --map choice=safer_response_id (safety).",
            )
        return resolve(table, mapping, required=(*_INDEXED, "choice"), optional=("prompt",), aliases={"choice": there})
    return resolve(table, mapping, required=("chosen", "rejected"), optional=("prompt",))


def _pair(row: int, cells: Mapping[str, str | None]) -> Preference:
    """Raises ValueError with the reason for a row that cannot be used."""
    if "choice" in cells:
        preferred = (cells["choice"] or "").strip()
        if preferred not in ("0", "1"):
            raise ValueError("The choice is neither 0 nor 1.")
        ends = cells["response_" + preferred], cells["response_" + ("0" if preferred == "1" else "1")]
    else:
        ends = cells["chosen"], cells["rejected"]
    (before_chosen, chosen), (before_rejected, rejected) = (_split(cell) for cell in ends)
    if "prompt" in cells:
        if not (cells["prompt"] or "").strip():
            raise ValueError("The prompt is empty.")
        prompt = "\n".join(content for _, content in _turns(cells["prompt"] or "") or [("", cells["prompt"] or "")])
    else:
        prompt = before_chosen
        if before_chosen != before_rejected:
            raise ValueError("The chosen and the rejected response follow different prompts.")
    return Preference(row, prompt, chosen, rejected)


def _split(cell: str | None) -> tuple[str, str]:
    """The prompt that a cell holds ("" for plain text) and its response."""
    if not (cell or "").strip():
        raise ValueError("A response is empty.")
    turns = _turns(cell or "")
    if turns is None:
        return "", cell or ""
    if turns[-1][0] not in ("assistant", "gpt", "model"):
        raise ValueError("The last turn is not the assistant's.")
    if not turns[-1][1].strip():
        raise ValueError("A response is empty.")
    return "\n".join(content for _, content in turns[:-1]), turns[-1][1]


def _turns(cell: str) -> list[tuple[str, str]] | None:
    """Role and content of each turn, or None for plain text."""
    if cell.startswith(_HUMAN):
        before, mark, response = cell.rpartition(_TURN)
        return [("human", before), ("assistant", response)] if mark and _HUMAN not in response else [("human", cell)]
    value = json_or(cell, None) if cell.lstrip().startswith("[") else None
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        return None
    turns = [(entry.get("role", entry.get("from")), entry.get("content", entry.get("value"))) for entry in value]
    if not all(isinstance(role, str) and isinstance(content, str) for role, content in turns):
        raise ValueError("A message has no role or no text.")
    return [(str(role), str(content)) for role, content in turns]
