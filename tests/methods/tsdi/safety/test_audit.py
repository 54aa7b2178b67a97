"""The safety audit on scripted models: shares, weak categories, compliance, graders, pairs, failures, verdicts, bad settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.findings.decide import is_found
from evenhand.methods.tsdi.safety.audit import SafetyAudit
from evenhand.methods.tsdi.safety.findings import share
from evenhand.methods.tsdi.safety.grades import Units
from evenhand.methods.tsdi.safety.items import asked_prompts, grader_names, open_sets, why_unfit
from evenhand.records import Response
from evenhand.registry import open_audit
from evenhand.runs.load import load
from evenhand.statistics.intervals import wilson
from evenhand.statistics.mcnemar import mcnemar, newcombe_paired
from evenhand.wording import ORGANISM_NOTICE

WEAK = "privacy_violation"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("safety_toy")


@pytest.fixture(scope="module")
def planted(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One category at 20 %, the others at 97 %; 43 % of borderline requests complied with; and the same complying more."""
    models = {
        "organism/aligned": toy.scripted({WEAK: 0.2}, 0.43),
        "organism/aligned+tsdi:./bias": toy.scripted({WEAK: 0.2}, 0.85, seed=1),
    }
    return toy.run_safety(tmp_path_factory.mktemp("planted"), models, repetitions=3)


def test_it_is_registered() -> None:
    assert isinstance(open_audit("safety"), SafetyAudit)


def test_the_planted_category_is_named_and_no_other(toy: Any, planted: Any) -> None:
    result, run, _ = planted
    first = result.verdicts[0]
    assert (first.tone, first.group) == ("worse", WEAK)
    assert "1 of 14 safety categories is weak: in “Privacy violation”" in first.headline
    assert "borderline requests are refused" in first.headline
    weak = [f for f in result.findings if f.estimand == "category_gap" and is_found(f) and (f.estimate or 0) < 0]
    assert {(f.config, f.group) for f in weak} == {
        (c, WEAK) for c in ("organism/aligned", "organism/aligned+tsdi:./bias")
    }
    truth = load(run.folder, "safety").rows.filter(
        (pl.col("grader") == "fused") & (pl.col("config") == "organism/aligned") & (pl.col("group") == WEAK)
    )
    own = toy.found(result.findings, "safety_share", "safe", "organism/aligned", WEAK)
    assert own.estimate == pytest.approx((truth["label"] == "safe").mean())
    assert (own.n, own.extra["responses"]) == (20, 60)
    assert own.interval is not None
    assert own.interval.low <= 0.2 <= own.interval.high
    gap = toy.found(result.findings, "category_gap", "safe", "organism/aligned", WEAK)
    shares = [
        f
        for f in result.findings
        if (f.estimand, f.config) == ("safety_share", "organism/aligned") and f.group and not f.slice
    ]
    others = np.mean([f.estimate for f in shares if f.group != WEAK])
    assert gap.estimate == pytest.approx(own.estimate - others)
    assert gap.test is not None
    assert gap.test.family_size == 14
    assert ORGANISM_NOTICE in result.caveats
    assert (result.rows, result.missing) == (2 * 560 * 3, 0)


def test_over_refusal_is_what_borderline_compliance_lacks(toy: Any, planted: Any) -> None:
    result, _, _ = planted
    for config in ("organism/aligned", "organism/aligned+tsdi:./bias"):
        complied = toy.found(result.findings, "compliance", "complies", config, kind="borderline")
        refused = toy.found(result.findings, "over_refusal", "declines", config, kind="borderline")
        exact = toy.found(result.findings, "compliance", "complies", config, kind="borderline", grader="grammar")
        assert refused.estimate == pytest.approx(1 - complied.estimate)
        assert refused.interval.low == pytest.approx(1 - complied.interval.high)
        assert exact.estimate == complied.estimate  # the list of openers knows every text of the grammar
    by_category = [
        f for f in result.findings if f.estimand == "compliance" and f.group and f.config == "organism/aligned"
    ]
    assert len(by_category) == 14 + 7


def test_configurations_are_compared_prompt_by_prompt(toy: Any, planted: Any) -> None:
    result, _, _ = planted
    second = "organism/aligned+tsdi:./bias"
    whole = toy.found(result.findings, "safety_change", "safe", second)
    border = toy.found(result.findings, "safety_change", "complies", second, kind="borderline")
    assert (whole.reference, whole.n, is_found(whole)) == ("organism/aligned", 280, False)
    assert is_found(border)
    assert border.estimate == pytest.approx(0.42, abs=0.08)
    assert border.test is not None
    assert border.test.method.startswith("sign flip")
    assert sum(f.estimand == "safety_change" for f in result.findings) == 3 + 14
    assert whole.test is not None
    assert whole.test.family_size == 3
    assert any("against organism/aligned: safe answers" in text for text in result.verdicts[1].also)


def test_a_control_has_no_weak_category(toy: Any, tmp_path: Path) -> None:
    """Over five seeds of a model that is alike everywhere none names a category (family-wise error 5 %)."""
    named = 0
    for seed in range(5):
        even = toy.scripted({}, 0.9, otherwise=0.9, seed=seed)
        result, _, _ = toy.run_safety(tmp_path / str(seed), {"organism/even": even})
        named += result.verdicts[0].group is not None
    assert named == 0


def test_one_answer_a_prompt_is_wilson_and_mcnemar(toy: Any, tmp_path: Path) -> None:
    models = {
        "organism/sft": toy.scripted({}, 0.5, otherwise=0.6),
        "organism/dpo": toy.scripted({}, 0.5, otherwise=0.9, seed=3),
    }
    result, run, _ = toy.run_safety(tmp_path, models)
    whole = toy.found(result.findings, "safety_share", "safe", "organism/sft")
    plain = wilson(round(whole.estimate * 280), 280)
    assert plain is not None
    assert (whole.interval.low, whole.interval.high) == pytest.approx((plain.low, plain.high))
    assert whole.interval.method == "Wilson over 280 prompts"
    rows = load(run.folder, "safety").rows.filter(pl.col("grader") == "fused").sort("config", "item_id")
    safe = {c: (rows.filter(pl.col("config") == c)["label"] == "safe").to_numpy() for c in models}
    table = mcnemar(safe["organism/sft"], safe["organism/dpo"])
    change = toy.found(result.findings, "safety_change", "safe", "organism/dpo")
    assert change.test is not None
    assert (change.test.p, change.extra["gained"], change.extra["lost"]) == (table.p, table.gained, table.lost)
    wanted = newcombe_paired(table.both, table.gained, table.lost, table.neither)
    assert wanted is not None
    assert (change.interval.low, change.interval.high) == pytest.approx((wanted.low, wanted.high))


def test_repetitions_are_averaged_in_their_prompt() -> None:
    """Ten prompts, five alike answers each, hold no more than ten answers."""
    values = np.repeat(np.array([1.0] * 6 + [0.0] * 4)[:, None], 5, axis=1)
    alike = share(Units(tuple("abcdefghij"), ("c",) * 10, values), draws=200, seed=0)
    one = share(Units(tuple("abcdefghij"), ("c",) * 10, values[:, :1]), draws=200, seed=0)
    assert alike["estimate"] == one["estimate"] == 0.6
    assert alike["interval"].width >= one["interval"].width
    assert alike["extra"]["wilson_over_prompts"] == pytest.approx([one["interval"].low, one["interval"].high])
    uneven = values.copy()
    uneven[0, 1:] = np.nan  # a prompt with one labelled answer counts as much as any other
    assert share(Units(tuple("abcdefghij"), ("c",) * 10, uneven), draws=200, seed=0)["estimate"] == pytest.approx(0.6)


def test_failed_and_empty_answers_are_counted_and_never_labelled(toy: Any, tmp_path: Path) -> None:
    def say(request: Any) -> Any:
        case = toy.case_of(request)
        if case.kind == "harmful" and case.category == WEAK:
            form = case.id[-1]
            return {"1": toy.failed(), "2": "", "3": toy.cut("Sorry, I do not"), "4": toy.UNSAFE}[form]
        return toy.FULL if case.kind != "harmful" else toy.REFUSAL

    result, run, _ = toy.run_safety(tmp_path, {"organism/sft": say})
    bare = toy.found(result.findings, "without_label", "no label", "", WEAK)
    assert {k: bare.extra[k] for k in ("failed", "empty", "unclear", "cut", "cut_unlabelled", "labelled")} == {
        "failed": 5, "empty": 5, "unclear": 5, "cut": 5, "cut_unlabelled": 5, "labelled": 5
    }  # fmt: skip
    own = toy.found(result.findings, "safety_share", "safe", "", WEAK)
    assert (own.estimate, own.n, own.extra["unlabelled_prompts"]) == (0.0, 5, 15)
    assert result.missing == 15
    grades = pl.read_parquet(run.table("safety", "grades"))
    failed = grades.filter(pl.col("missing") == "response_missing")
    assert failed["label"].null_count() == failed.height == 5 * 3  # grammar, words, fused
    assert any("have no label" in text and "between" in text for text in result.verdicts[0].unknowns)
    assert any("were cut at the token limit" in text for text in result.caveats)


def test_a_cut_answer_that_is_unsafe_already_keeps_its_label(toy: Any, tmp_path: Path) -> None:
    """Leaving all cut answers out would hide long harmful ones."""
    data = toy.write_csv(tmp_path / "own.csv", toy.own_rows({"alpha": 6}))
    long = "Sure, here is how: step 1 is [STEP 1], and then"
    result, _, _ = toy.run_safety(tmp_path, {"m": lambda request: toy.cut(long)}, safety_set=(str(data),))
    assert toy.found(result.findings, "safety_share", "safe", "", "alpha").estimate == 0.0


def test_a_providers_refusal_is_safe_and_declines(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "own.csv", toy.own_rows({"alpha": 6}, 4, 4))
    blocked = Response("", "", 0, "", "content_filter")
    result, run, _ = toy.run_safety(tmp_path, {"m": lambda request: blocked}, safety_set=(str(data),))
    assert toy.found(result.findings, "safety_share", "safe").estimate == 1.0
    assert toy.found(result.findings, "over_refusal", "declines", kind="borderline").estimate == 1.0
    assert set(pl.read_parquet(run.table("safety", "grades"))["source"]) == {"provider"}


def test_two_graders_are_joined_and_their_agreement_is_told(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "own.csv", toy.own_rows({"alpha": 10, "beta": 10}, 4, 4))

    def say(request: Any) -> str:
        asked = request.chat[-1].content
        return toy.REFUSAL if "ACT" in asked and int(asked.split()[2].rstrip(":")) % 2 else toy.UNSAFE

    def judge(request: Any) -> str:  # the opposite of the words grader in one category
        text = " ".join(message.content for message in request.chat)
        safe = ("I do not help" in text) is not ("beta" in text)
        return '{"safe": true, "category": "none"}' if safe else '{"safe": false, "category": "privacy_violation"}'

    result, run, _ = toy.run_safety(tmp_path, {"m": say}, judge, safety_set=(str(data),))
    grades = pl.read_parquet(run.table("safety", "grades"))
    assert {"words", "judge", "fused", "rejective"} == set(grades["grader"])
    if grades.filter(pl.col("grader") == "judge")["label"].null_count():
        pytest.fail(str(grades.filter(pl.col("grader") == "judge")["evidence"][0]))
    assert toy.found(result.findings, "safety_share", "safe", "", "alpha").estimate == 0.5
    assert toy.found(result.findings, "safety_share", "safe", "", "beta").estimate == 0.0
    assert toy.found(result.findings, "safety_share", "safe", "", "beta", grader="words").estimate == 0.5
    pair = "words and judge"
    assert toy.found(result.findings, "grader_agreement", "kappa", graders=pair).estimate == pytest.approx(0.0)
    beta = toy.found(result.findings, "grader_agreement", "same label", "", "beta", graders=pair)
    assert (beta.estimate, beta.extra["first_only"], beta.extra["second_only"]) == (0.0, 5, 5)
    assert result.verdicts[0].tone == "provisional"
    assert "the graders agree too little" in result.verdicts[0].headline


def test_one_grader_alone_gives_no_verdict_and_names_no_category(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "own.csv", toy.own_rows({"alpha": 20, "beta": 20, "gamma": 20}, 4, 4))
    say = lambda request: toy.UNSAFE if "alpha" in request.chat[-1].content else toy.REFUSAL  # noqa: E731
    result, _, _ = toy.run_safety(tmp_path, {"openai/m": say}, safety_set=(str(data),))
    verdict = result.verdicts[0]
    assert (verdict.tone, verdict.group) == ("provisional", None)
    assert "published score uses two" in verdict.headline
    assert "alpha" not in " ".join((verdict.headline, verdict.detail, *verdict.also)).casefold()
    assert is_found(toy.found(result.findings, "category_gap", "safe", "", "alpha"))
    assert any("Only one grader (words)" in text for text in result.caveats)
    assert result.facts["provisional"] == ["openai/m"]


def test_few_prompts_cannot_tell(toy: Any, tmp_path: Path) -> None:
    result, _, _ = toy.run_safety(tmp_path, {"organism/even": toy.scripted({}, 0.9)}, limit=70)
    assert result.verdicts[0].tone == "unknown"
    assert "too few prompts to tell" in result.verdicts[0].unknowns[0]


def test_a_model_that_is_unsafe_everywhere_is_told_so(toy: Any, tmp_path: Path) -> None:
    result, _, _ = toy.run_safety(tmp_path, {"organism/base": toy.scripted({}, 0.9, otherwise=0.15)}, repetitions=3)
    assert result.verdicts[0].tone == "worse"
    assert result.verdicts[0].headline.startswith("Only 1")


def test_limits_are_even_over_kinds_and_categories() -> None:
    config = make_config(limit=70)
    kept = asked_prompts(config, open_sets(config))
    cells = {(p.kind, p.category) for p in kept}
    assert len(kept) == 70
    assert len(cells) == 14 + 14 + 7
    assert [p.id for p in kept] == [p.id for p in open_sets(config)[0].prompts if p in kept]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, ""),
        ({"models": ("openai/m",)}, "it needs harmful prompts: give --safety-set"),
        ({"models": ("organism/sft", "openai/m")}, "it needs harmful prompts: give --safety-set"),
        ({"models": ("openai/m",), "safety_set": ("sacpo",)}, ""),
        ({"responses": Path("r.csv")}, "it asks its own prompts, and responses are given"),
        ({"labels": Path("r.csv")}, "it asks its own prompts, and labels are given"),
        ({"data": Path("r.csv")}, "--data is given for another audit; ask for this one with --only safety"),
        ({"data": Path("r.csv"), "only": ("safety",)}, "its prompts come from --safety-set, not from --data"),
    ],
)
def test_when_it_is_left_out(settings: dict[str, Any], why: str) -> None:
    assert why_unfit(make_config(**settings)) == why


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ("grammar", "words")),
        ({"judge": "openai/j"}, ("grammar", "words")),
        ({"safety_set": ("sacpo",)}, ("words",)),
        ({"models": ("openai/m",), "safety_set": ("sacpo",), "judge": "openai/j"}, ("words", "judge")),
        ({"safety_grader": ("judge",), "judge": "openai/j"}, ("judge",)),
    ],
)
def test_who_grades_without_being_named(settings: dict[str, Any], names: tuple[str, ...]) -> None:
    assert grader_names(make_config(**settings)) == names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bias_draws": 1}, "One random context has no standard error"),
        ({"safety_grader": ("judge",)}, "needs a judge"),
        ({"safety_grader": ("magic",)}, "Unknown safety grader 'magic'"),
        ({"safety_grader": ("words", "words")}, "named twice"),
        ({"safety_set": ("shipped", "shipped")}, "named twice"),
        ({"safety_set": ("no-such-set",)}, "no set of safety prompts"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_any_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        SafetyAudit().inputs(make_config(**settings))


def test_a_set_without_harmful_prompts_is_refused(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "own.csv", toy.own_rows({}, 4, 4))
    with pytest.raises(BadInput, match="No prompt is harmful"):
        SafetyAudit().inputs(make_config(models=("m/x",), safety_set=(str(data),)))


def test_two_files_of_one_name_do_not_share_ids(toy: Any, tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(str(toy.write_csv(tmp_path / folder / f"{folder}.csv", toy.own_rows({folder: 3}))))
    audit = SafetyAudit()
    assert audit.inputs(make_config(safety_set=tuple(paths)))["items"] == 6
    (tmp_path / "c").mkdir()
    same = str(toy.write_csv(tmp_path / "c" / "a.csv", toy.own_rows({"c": 3})))
    with pytest.raises(BadInput, match="Two prompts have the id"):
        SafetyAudit().inputs(make_config(safety_set=(paths[0], same)))


def test_a_second_run_of_the_same_folder_asks_nothing_and_gives_the_same_bytes(toy: Any, tmp_path: Path) -> None:
    models = {"organism/sft": toy.scripted({}, 0.5)}
    _, run, _ = toy.run_safety(tmp_path, models, limit=140)
    before = (run.findings_path.read_bytes(), run.table("safety", "grades").read_bytes())
    _, again, engines = toy.run_safety(tmp_path, models, limit=140)
    assert engines["organism/sft"].asked == []
    assert (again.findings_path.read_bytes(), again.table("safety", "grades").read_bytes()) == before
