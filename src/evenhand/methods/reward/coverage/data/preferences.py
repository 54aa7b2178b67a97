"""Preference data: how often prompts and responses mention gender-diverse people, and what the preferred ones are like.

implicit_reward section 10. That such an audit was done is known of the published work from a summary; its method was not
found, so the term list, the shapes read, the intervals and the cut-offs here are chosen defaults.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evenhand.errors import BadInput
from evenhand.graders.content import TextClassifier
from evenhand.methods.reward.coverage.data.identity_terms import GENDER_DIVERSE, TermList, read_terms
from evenhand.methods.reward.coverage.data.preference_pairs import Preference, read_preferences, read_targets
from evenhand.records import Interval
from evenhand.statistics.clusters import cluster_bootstrap
from evenhand.statistics.intervals import wilson

LEAST_PAIRS = 30  # fewer give counts only (section 10)
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
    output, target, messages or chosen); a response counts as a target where the two agree but for white space. Every input
    is read before anything is measured. Raises BadInput as `read_preferences` and `read_terms`, for unknown identities, and
    where a classifier gives a number that is not finite.
    """
    listed = read_terms(terms)
    unknown = sorted(set(identities) - {name for names in listed.identities().values() for name in names})
    if identities is not GENDER_DIVERSE and unknown:
        raise BadInput(f"The list holds no identity '{unknown[0]}'.", file=listed.origin)
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
        known = {_squeezed(text) for text in targets}
        chosen_known = [_squeezed(pair.chosen) in known for pair in pairs]
        rejected_known = [_squeezed(pair.rejected) in known for pair in pairs]
        shares += [
            _share("SFT targets with a term", with_term, len(targets), ()),
            share("of pairs with a term, chosen response is an SFT target", chosen_known, mention),
            share("of pairs with a term, rejected response is an SFT target", rejected_known, mention),
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
    found = [mention for mention in terms.find(text) if mention.term.identity in wanted]
    return "clear" if any(mention.clear for mention in found) else "unclear" if found else ""


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
