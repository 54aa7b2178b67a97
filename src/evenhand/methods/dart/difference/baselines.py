"""Baselines for accuracy: the majority label, YES for all, and a classifier that sees nothing but words.

A linear classifier on word counts solves most of the published task (docs/difference.md), so no accuracy means anything without
it. Its settings are ours: TF-IDF of words and word pairs seen at least twice, with logarithmic counts, and logistic regression
with C = 10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.cases import Case, Gold, scenario_split

LEAST_TRAIN = 20
"""Minimum number of labelled training rows for a classifier."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The labels that a baseline gives to test cases; ``reason`` says why there are none.

    ``split`` is ``row`` (the cases' own split) or ``scenario`` (whole scenarios held out).
    """

    name: str
    split: str
    cases: tuple[Case, ...]
    labels: tuple[Gold, ...]
    reason: str = ""


def surface_cues(train: Sequence[Case], test: Sequence[Case]) -> list[Gold]:
    """The labels that TF-IDF and logistic regression, trained on labelled ``train`` cases, give to ``test`` cases.

    Raises BadInput if no word is in two training cases.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    labelled = [case for case in train if case.gold is not None]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    try:
        features = words.fit_transform([case.prompt for case in labelled])
    except ValueError as error:  # raised for an empty vocabulary alone
        raise BadInput("No word is in two training rows.") from error
    model = LogisticRegression(C=10.0, max_iter=2000).fit(features, [case.gold for case in labelled])
    return [str(label) for label in model.predict(words.transform([case.prompt for case in test]))]  # type: ignore[misc]


def _learnt(name: str, cases: Sequence[Case], test: Sequence[Case]) -> Baseline:
    train = [case for case in cases if case.split == "train" and case.gold is not None]
    if len(train) < LEAST_TRAIN or len({case.gold for case in train}) < 2:
        return Baseline("surface cues", name, (), (), f"{len(train)} labelled training rows, or one label only")
    if not test:
        return Baseline("surface cues", name, (), (), "no test rows")
    try:
        labels = surface_cues(train, test)
    except BadInput as error:
        return Baseline("surface cues", name, (), (), error.what)
    return Baseline("surface cues", name, tuple(test), tuple(labels))


def baselines(cases: Sequence[Case], judged: Sequence[Case]) -> list[Baseline]:
    """Baselines for ``judged``, the labelled cases that a model was asked, out of all ``cases``.

    The majority is that of the training rows (of the judged rows if there are none). The classifier is reported twice: trained
    on the training rows of the cases' own split, and on a split of all cases that holds whole scenarios out, where its test
    rows are those of that split.
    """
    test = [case for case in judged if case.gold is not None]
    counted = Counter(case.gold for case in cases if case.split == "train" and case.gold) or Counter(
        case.gold for case in test if case.gold
    )
    yes: Gold = "YES"
    majority: Gold = "YES" if counted["YES"] >= counted["NO"] else "NO"
    held = scenario_split([case for case in cases if case.gold is not None])
    asked = [case for case in test if case.split != "train"]
    return [
        Baseline(f"majority ({majority})", "row", tuple(test), (majority,) * len(test)),
        Baseline("always YES", "row", tuple(test), (yes,) * len(test)),
        _learnt("row", cases, asked),
        _learnt("scenario", held, [case for case in held if case.split == "test"]),
    ]
