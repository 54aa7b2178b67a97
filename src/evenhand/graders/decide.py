"""From responses to grades: what needs no grader is decided here, by the same rules for every grader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evenhand.errors import BadInput, EvenhandError
from evenhand.graders.base import Gradable, Grader, Verdict
from evenhand.graders.normalise import Normalised, prepare
from evenhand.records import Grade, Item, Response
from evenhand.safe_text import surrogate_free

Prepared = Sequence[tuple[Gradable, Normalised]]
EVIDENCE_LIMIT = 2000
"""Characters of evidence kept with a grade."""


def settle(response: Response, seen: Normalised) -> tuple[Verdict, bool] | None:
    """The verdict on a response that no grader needs to see, and whether it came from the provider; None for all
    others.

    Failed row: no label, ``response_missing``. Provider refusal or content-filter stop: ``refusal``. Empty text:
    ``failure`` if the model stopped by itself, ``truncated_in_reasoning`` if the budget went into reasoning, else
    ``response_missing``.
    """
    if response.finish_reason == "error":
        return Verdict(None, response.error, "response_missing"), False
    if response.provider_refusal:
        return Verdict("refusal", response.provider_refusal), True
    if response.finish_reason == "content_filter":
        return Verdict("refusal", "content filter"), True
    if seen.text:
        return None
    if response.finish_reason == "stop":
        return Verdict(
            "failure", "empty after the echo of the prompt" if seen.echo_stripped else "empty response"
        ), False
    if response.reasoning or seen.reasoning:
        return Verdict(None, "the token budget was spent on reasoning", "truncated_in_reasoning"), False
    return Verdict(None, "empty response, cut off at the token limit", "response_missing"), False


def normalised(items: Mapping[str, Item], responses: Sequence[Response], *, expect_echo: bool = False) -> Prepared:
    """Each response as a grader may see it: echo, chat template and reasoning stripped, once for all graders."""
    for response in responses:
        if response.item_id not in items:
            raise BadInput(f"There is a response to the item '{response.item_id}', which is not among the items.")
    return prepare([(items[response.item_id], response) for response in responses], expect_echo=expect_echo)


def grade_responses(
    grader: Grader,
    items: Mapping[str, Item],
    responses: Sequence[Response],
    *,
    expect_echo: bool = False,
    seen: Prepared | None = None,
) -> list[Grade]:
    """One grade per response, in order. ``seen`` are the responses as `normalised` gives them, where several graders share them.

    ``truncated`` marks every response that stopped at the token limit, ``echo_stripped`` those that repeated their
    prompt. Raises BadInput for a response to an unknown item or (with ``expect_echo``) without the echo, and
    EvenhandError for a grader that returns too few verdicts or a label that it does not declare.
    """
    if seen is None:
        seen = normalised(items, responses, expect_echo=expect_echo)
    settled = [settle(row.response, done) for row, done in seen]
    open_rows: list[Gradable] = [row for (row, _), known in zip(seen, settled, strict=True) if known is None]
    verdicts = grader.judge(open_rows) if open_rows else []
    if len(verdicts) != len(open_rows):
        raise EvenhandError(f"The grader '{grader.name}' gave {len(verdicts)} verdicts on {len(open_rows)} responses.")
    pending = iter(verdicts)
    grades: list[Grade] = []
    for (row, done), known in zip(seen, settled, strict=True):
        verdict = known[0] if known is not None else next(pending)
        if known is None and verdict.label is not None and verdict.label not in grader.labels:
            raise EvenhandError(f"The grader '{grader.name}' gave '{verdict.label}', which is not one of its labels.")
        response = row.response
        grades.append(
            Grade(
                config=response.config,
                item_id=response.item_id,
                repetition=response.repetition,
                grader=grader.name,
                label=verdict.label,
                evidence=_bounded(verdict.evidence),
                source="provider" if known is not None and known[1] else verdict.source,
                missing=(verdict.missing or "judge_missing") if verdict.label is None else "",
                hedged=verdict.hedged,
                truncated=response.finish_reason == "length",
                echo_stripped=done.echo_stripped,
            )
        )
    return grades


def _bounded(text: str) -> str:
    text = surrogate_free(text)
    return text if len(text) <= EVIDENCE_LIMIT else text[: EVIDENCE_LIMIT - 1] + "…"
