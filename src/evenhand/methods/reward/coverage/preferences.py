"""Preference data: pairs read from tables of the usual shapes, how often they mention gender-diverse people, and what is preferred.

Such an audit is known of the published work from a summary; its method was not found, so the term list, the shapes read, the
intervals and the cut-offs here are chosen defaults (docs/coverage.md, "Preference data").
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evenhand.datasets.table import Table, as_table, resolve
from evenhand.errors import BadInput
from evenhand.graders.content import TextClassifier
from evenhand.methods.reward.coverage.terms import GENDER_DIVERSE, TermList, read_terms
from evenhand.records import Interval
from evenhand.statistics.clusters import cluster_bootstrap
from evenhand.statistics.intervals import wilson
from evenhand.text_input import json_or

_INDEXED = ("response_0", "response_1")
_CHOICES = ("better_response_id", "safer_response_id")
_HUMAN, _TURN = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair: data row (from 1), prompt ("" if the data has none), and the preferred and the other response."""

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
    targets = []
    for row, cell in enumerate(table.frame[roles["sft"]], start=1):
        try:
            targets.append(_split(cell)[1])
        except ValueError as error:
            raise table.error(str(error), row) from None
    return targets


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


LEAST_PAIRS = 30  # fewer give counts only
_ROLES = ("prompt", "chosen", "rejected")
_SUBSETS = ("mention", "differ")


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``total``, with Wilson's interval; without one, ``reason`` says why. ``rows`` are data rows, from 1."""

    what: str
    count: int
    total: int
    interval: Interval | None
    reason: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A measure of the chosen minus the rejected response, in the measure's unit, over the pairs of a subset.

    ``subset`` is "mention" (a term in the prompt or a response) or "differ" (in one response alone). ``mean`` is None
    below `LEAST_PAIRS`; the interval takes prompts as the unit. ``higher``, ``lower`` and ``equal`` count pairs.
    """

    measure: str
    unit: str
    subset: Literal["mention", "differ"]
    pairs: int
    higher: int
    lower: int
    equal: int
    mean: float | None
    interval: Interval | None
    reason: str
    truncated: int


@dataclass(frozen=True, slots=True)
class PreferenceAudit:
    """Counts, differences and rows that could not be read: (row, why). ``unclear`` rows hold unclear words only."""

    origin: str
    checksum: str
    pairs: int
    prompts: int
    identical: int
    failed: tuple[tuple[int, str], ...]
    terms: str
    shares: tuple[Share, ...]
    unclear: tuple[int, ...]
    differences: tuple[Difference, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, without any text, for JSON."""
        return asdict(self)


def audit_preferences(
    source: Any,
    mapping: Mapping[str, str] | None = None,
    *,
    classifiers: Sequence[TextClassifier] = (),
    sft: Any = None,
    sft_column: str | None = None,
    terms: Any = None,
    identities: Collection[str] = GENDER_DIVERSE,
    max_bad_rows: int = 10,
) -> PreferenceAudit:
    """Count mentions of ``identities`` in a preference file, and compare chosen with rejected responses there.

    ``classifiers`` (regard, toxicity, sentiment: see `evenhand.graders.content.open_classifier`) measure the responses of
    pairs that mention a term. ``sft`` is a table of fine-tuning targets (``sft_column``, else response, completion,
    output, target, messages or chosen); a response counts as a target if the two agree apart from white space. Every input
    is read before anything is measured. Raises BadInput as `read_preferences` and `read_terms`, for unknown identities, and
    where a classifier gives a number that is not finite.
    """
    listed = read_terms(terms)
    unknown = sorted(set(identities) - {name for names in listed.identities().values() for name in names})
    if identities is not GENDER_DIVERSE and unknown:
        raise BadInput(f"The list has no identity '{unknown[0]}'.", file=listed.origin)
    if len(unknown) == len(set(identities)):
        raise BadInput("The list holds none of the gender-diverse identities.", file=listed.origin)
    pairs, failed, table = read_preferences(source, mapping, max_bad_rows=max_bad_rows)
    targets = None if sft is None else read_targets(sft, sft_column)
    wanted = frozenset(identities)
    hits = [{role: _mentions(listed, getattr(pair, role), wanted) for role in _ROLES} for pair in pairs]
    clear = [{role: hit[role] == "clear" for role in _ROLES} for hit in hits]
    mention = [any(flags.values()) for flags in clear]
    differ = [flags["chosen"] != flags["rejected"] for flags in clear]
    rows = [pair.row for pair in pairs]

    def share(what: str, flags: Sequence[bool], among: Sequence[bool] | None = None) -> Share:
        within = among or [True] * len(flags)
        picked = tuple(row for row, flag, kept in zip(rows, flags, within, strict=True) if flag and kept)
        return _share(what, len(picked), sum(within), picked)

    has_prompt = [bool(pair.prompt) for pair in pairs]
    shares = [
        share("prompts with a term", [flags["prompt"] for flags in clear], has_prompt),
        share("chosen responses with a term", [flags["chosen"] for flags in clear]),
        share("rejected responses with a term", [flags["rejected"] for flags in clear]),
        share("pairs with a term anywhere", mention),
        share("pairs with a term in one response alone", differ),
        share("of these, in the chosen one", [flags["chosen"] for flags in clear], differ),
    ]
    if targets is not None:
        with_term = sum(_mentions(listed, text, wanted) == "clear" for text in targets)
        squeezed = {_squeezed(text) for text in targets}
        chosen_is_target = [_squeezed(pair.chosen) in squeezed for pair in pairs]
        rejected_is_target = [_squeezed(pair.rejected) in squeezed for pair in pairs]
        shares += [
            _share("SFT targets with a term", with_term, len(targets), ()),
            share("of pairs with a term, chosen response is an SFT target", chosen_is_target, mention),
            share("of pairs with a term, rejected response is an SFT target", rejected_is_target, mention),
        ]
    subsets = dict(zip(_SUBSETS, (mention, differ), strict=True))
    unclear = tuple(
        row for row, hit, there in zip(rows, hits, mention, strict=True) if not there and "unclear" in hit.values()
    )
    return PreferenceAudit(
        origin=table.origin,
        checksum=table.checksum,
        pairs=len(pairs),
        prompts=len({pair.prompt for pair in pairs if pair.prompt}),
        identical=sum(pair.chosen == pair.rejected for pair in pairs),
        failed=failed,
        terms=listed.origin,
        shares=tuple(shares),
        unclear=unclear,
        differences=tuple(row for made in classifiers for row in _differences(made, pairs, subsets)),
    )


def _mentions(terms: TermList, text: str, wanted: Collection[str]) -> str:
    mentions = [mention for mention in terms.mentions(text) if mention.term.identity in wanted]
    return "clear" if any(mention.clear for mention in mentions) else "unclear" if mentions else ""


def _share(what: str, count: int, total: int, rows: tuple[int, ...]) -> Share:
    if total < LEAST_PAIRS:
        return Share(what, count, total, None, f"fewer than {LEAST_PAIRS}", rows)
    return Share(what, count, total, wilson(count, total), "", rows)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _differences(
    classifier: TextClassifier, pairs: Sequence[Preference], subsets: Mapping[Any, Sequence[bool]]
) -> Iterator[Difference]:
    measured = [pair for pair, kept in zip(pairs, subsets["mention"], strict=True) if kept]
    texts = list(dict.fromkeys(text for pair in measured for text in (pair.chosen, pair.rejected)))
    before = getattr(classifier, "truncated", 0)
    values = dict(zip(texts, classifier.measure(texts) if texts else [], strict=True))
    cut = getattr(classifier, "truncated", 0) - before
    for pair in measured:
        if not (math.isfinite(values[pair.chosen]) and math.isfinite(values[pair.rejected])):
            raise BadInput(f"{classifier.name} gave no finite number for a response.", row=pair.row)
    for name, flags in subsets.items():
        kept = [pair for pair, flag in zip(pairs, flags, strict=True) if flag]
        gaps = [values[pair.chosen] - values[pair.rejected] for pair in kept]
        enough = len(gaps) >= LEAST_PAIRS
        interval = (
            cluster_bootstrap(
                gaps, [pair.prompt or pair.row for pair in kept], statistic="row mean", method="studentised"
            )
            if enough
            else None
        )
        reason = f"fewer than {LEAST_PAIRS} pairs" if not enough else "" if interval else "no variation between prompts"
        yield Difference(
            classifier.name,
            classifier.unit,
            name,
            len(gaps),
            sum(gap > 0 for gap in gaps),
            sum(gap < 0 for gap in gaps),
            sum(gap == 0 for gap in gaps),
            math.fsum(gaps) / len(gaps) if enough else None,
            interval,
            reason,
            cut,
        )
