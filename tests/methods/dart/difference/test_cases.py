"""Cases: readers, labels, options, and splits by row or by scenario."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.datasets.question_texts import (
    CHOICE_TAIL,
    TASK_HEAD,
    TASK_SYSTEM_PROMPT,
    choice_chat,
    task_chat,
)
from evenhand.errors import BadInput
from evenhand.methods.dart.difference.cases import (
    BENCHMARKS,
    Case,
    check_disjoint,
    gold_label,
    leakage,
    option_texts,
    published_split,
    read_benchmarks,
    read_cases,
    scenario_split,
    shared_scenarios,
    shipped,
)


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(benchmark: str, condition: str, index: int, **more: Any) -> dict[str, Any]:
    """A row in the schema of the benchmark files; the published answer field of an equal row is not its answer."""
    differs = condition == "diff"
    return {
        "row_id": f"{benchmark}:{condition}:{index:04d}",
        "benchmark": benchmark,
        "kind": "descriptive" if benchmark[0] == "D" else "normative",
        "condition": condition,
        "index": index,
        "gold_label": "YES" if differs else "NO",
        "question": f"{benchmark} {condition} {index}: who? (a) x{index} (b) y{index} (c) neither",
        "stem": "unused",
        "options": ["unused"],
        "mc_gold": index % 2 if differs else 2,
        "raw_answer_field": 0 if differs else 1,
        "scenario_id": str(index // 2),
        "split_seed42": "test",
    } | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All eight benchmarks, ten rows a condition."""
    for name in BENCHMARKS:
        rows = [_row(name, condition, k) for condition in ("diff", "equal") for k in range(10)]
        _jsonl(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "gold"),
    [
        (("YES", "yes", " Yes ", "DIFF", "diff", "1", "1.0", "true", "True"), "YES"),
        (("NO", "no", "EQUAL", "Equal", "0", "0.0", "false", "False"), "NO"),
        (("", None, "maybe", "2", "YES NO", "nan", "None", "y"), None),
    ],
)
def test_label_words(words: tuple[str | None, ...], gold: str | None) -> None:
    assert {gold_label(word) for word in words} == {gold}


@pytest.mark.parametrize(
    ("value", "gold"),
    [(True, "YES"), (False, "NO"), (1, "YES"), (0, "NO"), (1.0, "YES"), ("diff", "YES"), (None, None), (7, None)],
)
def test_label_types_of_json(tmp_path: Path, value: Any, gold: str | None) -> None:
    (case,) = read_cases(_jsonl(tmp_path / "x.jsonl", [{"prompt": "Who?", "gold": value}])).cases
    assert case.gold == gold


def test_labels_of_a_frame_may_be_booleans_or_absent() -> None:
    told = read_cases(pl.DataFrame({"prompt": ["a?", "b?"], "label": [True, False]})).cases
    assert [case.gold for case in told] == ["YES", "NO"]
    assert [case.gold for case in read_cases(pl.DataFrame({"prompt": ["a?", "b?"]})).cases] == [None, None]


@pytest.mark.parametrize(
    ("text", "stem", "options"),
    [
        ("Who? (a) x (b) y (c) neither", "Who?", ("x", "y", "neither")),
        ("Who? (1) x (b) y (c) neither", "Who?", ("x", "y", "neither")),
        ("Who?\n(a) x\n(b) y\n(c) both (in part)", "Who?", ("x", "y", "both (in part)")),
        ("In rule (a), who? (a) x (b) y (c) z", "In rule (a), who?", ("x", "y", "z")),
        ("Who? (a) x (b) y", "Who? (a) x (b) y", ()),
        ("Who? (b) x (a) y (c) z", "Who? (b) x (a) y (c) z", ()),
        ("Who? (a) x (b) y (c) z (a)", "Who? (a) x (b) y (c) z (a)", ()),
        ("Who?", "Who?", ()),
        ("", "", ()),
    ],
)
def test_options(text: str, stem: str, options: tuple[str, ...]) -> None:
    assert option_texts(text) == (stem, options)


@settings(deadline=None)
@given(st.text(alphabet="ab1c() xy\n", max_size=60))
def test_options_are_three_or_none(text: str) -> None:
    stem, options = option_texts(text)
    assert len(options) in (0, 3)
    assert stem == text or len(options) == 3
    assert text.startswith(stem) or text.lstrip().startswith(stem)


def test_the_tag_1_stays_in_the_prompt(tmp_path: Path) -> None:
    prompt = " Who? (1) x (b) y (c) neither "
    (case,) = read_cases(_jsonl(tmp_path / "x.jsonl", [{"prompt": prompt, "right": 0}])).cases
    assert case.prompt == prompt
    assert case.options[case.right or 0] == "x"
    assert task_chat(case.prompt)[-1].content == TASK_HEAD + prompt
    assert choice_chat(case.prompt)[-1].content == prompt + CHOICE_TAIL


def test_the_chat_never_tells_the_label() -> None:
    system, user = task_chat("Who?")
    assert (system.role, user.role) == ("system", "user")
    assert system.content == TASK_SYSTEM_PROMPT
    assert "Conclusion: YES or Conclusion: NO" in system.content
    assert task_chat("Who?", "other")[0].content == "other"
    assert [message.role for message in choice_chat("Who?")] == ["user"]


def test_roles_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(
        "text,verdict,unit,condition,part\nWho?,yes,7,diff,train\nWhom?,no,7,equal,TEST\nWhose?,,,,\n", encoding="utf-8"
    )
    found = read_cases(file, {"prompt": "text", "gold": "verdict", "scenario": "unit", "split": "part"})
    one, two, three = found.cases
    assert [case.id for case in found.cases] == ["row-1", "row-2", "row-3"]
    assert (one.gold, two.gold, three.gold) == ("YES", "NO", None)
    assert one.scenario != two.scenario, "plain scenario numbers are reused across conditions"
    assert one.twins == two.twins
    assert three.scenario == three.twins == "row-3"
    assert [case.split for case in found.cases] == ["train", "test", ""]
    assert found.of("train", "test") == [one, two]
    assert found.checksums[str(file)].startswith("xxh128:")


def test_a_condition_gives_the_label_and_a_missing_scenario_is_its_own(tmp_path: Path) -> None:
    rows = [{"prompt": "a?", "condition": "DIFF"}, {"prompt": "b?", "condition": "equal", "gold": "unsure"}]
    found = read_cases(_jsonl(tmp_path / "x.jsonl", rows)).cases
    assert [case.gold for case in found] == ["YES", "NO"]
    assert len({case.scenario for case in found}) == 2


def test_empty_prompts_are_told_and_left_out(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": ""}, {"id": "b", "prompt": " \n\t"}, {"id": "c", "prompt": "Who?"}, {"id": "d"}]
    found = read_cases(_jsonl(tmp_path / "x.jsonl", rows))
    assert [case.id for case in found.cases] == ["c"]
    assert found.rejected == tuple((row, "the prompt is empty") for row in (1, 2, 4))


BAD: Mapping[str, tuple[list[dict[str, Any]], str, int]] = {
    "yes that is equal": (
        [{"prompt": "a?"}, {"prompt": "b?", "condition": "equal", "gold": "YES"}],
        "The label YES contradicts the condition 'equal'",
        2,
    ),
    "no that is diff": (
        [{"prompt": "a?", "condition": "diff", "gold": 0}],
        "The label NO contradicts the condition 'diff'",
        1,
    ),
    "one id twice": (
        [{"prompt": "", "id": "n"}, {"prompt": "a?", "id": "m"}, {"prompt": "b?", "id": "m"}],
        "The id 'm' is repeated",
        3,
    ),
    "an id that a row without one has": (
        [{"prompt": "a?", "id": "row-2"}, {"prompt": "b?", "id": ""}],
        "The id 'row-2' is repeated",
        2,
    ),
    "both labels": (
        [{"prompt": "a?", "gold": "YES", "id": "m"}, {"prompt": "a?", "gold": "NO", "id": "n"}],
        "labelled YES and NO, in 'm' and 'n'",
        2,
    ),
    "both labels after none": (
        [{"prompt": "a?", "gold": word, "id": word} for word in ("unsure", "YES", "NO")],
        "labelled YES and NO, in 'YES' and 'NO'",
        3,
    ),
    "an unknown split": ([{"prompt": "a?", "split": "dev"}], "'dev' is not a split", 1),
    "an option that is none": ([{"prompt": "a?", "right": 3}], "The right option is '3'", 1),
    "an option that is a letter": ([{"prompt": "a?", "right": "a"}], "The right option is 'a'", 1),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named(tmp_path: Path, name: str) -> None:
    rows, message, row = BAD[name]
    file = _jsonl(tmp_path / "x.jsonl", rows)
    with pytest.raises(BadInput, match=message) as error:
        read_cases(file)
    assert (error.value.file, error.value.row) == (str(file), row)


def test_one_prompt_may_repeat_under_one_label(tmp_path: Path) -> None:
    rows = [{"prompt": "a?", "gold": word} for word in ("YES", "diff", "1", "unsure")]
    assert len(read_cases(_jsonl(tmp_path / "x.jsonl", rows)).cases) == 4


def test_a_table_without_prompts_and_an_unknown_role(tmp_path: Path) -> None:
    file = _jsonl(tmp_path / "x.jsonl", [{"gold": "YES"}])
    with pytest.raises(BadInput, match="There is no column 'prompt'"):
        read_cases(file)
    with pytest.raises(BadInput, match="There is no role 'options' to map"):
        read_cases(_jsonl(tmp_path / "y.jsonl", [{"prompt": "a?"}]), {"options": "prompt"})


def test_benchmarks_of_a_folder(folder: Path) -> None:
    found = read_benchmarks(folder)
    assert len(found.cases) == 160
    assert Counter((case.split, case.gold) for case in found.cases) == {
        (split, gold): n for split, n in (("train", 64), ("val", 8), ("test", 8)) for gold in ("YES", "NO")
    }
    for case in found.cases:
        assert case.gold == ("YES" if case.condition == "diff" else "NO")
        assert (case.right == 2) == (case.gold == "NO"), "the published answer field is ignored"
        assert case.prompt.endswith("(c) neither"), "the options stay in the prompt"
        assert case.kind == BENCHMARKS[case.benchmark]
    assert len({case.scenario for case in found.cases}) == 80
    assert len(found.checksums) == 8
    assert any("evaluation, not for training" in note for note in found.notes)
    assert not any("rebuild" in note for note in found.notes)


def test_the_order_in_which_benchmarks_are_named_changes_nothing(folder: Path) -> None:
    named = read_benchmarks(folder, [*reversed(list(BENCHMARKS)), "D1"])
    assert named.cases == read_benchmarks(folder).cases


def test_fewer_benchmarks_keep_the_split_of_their_files(folder: Path) -> None:
    found = read_benchmarks(folder, ["N4", "D1"])
    assert [case.benchmark for case in found.cases] == ["D1"] * 20 + ["N4"] * 20
    assert {case.split for case in found.cases} == {"test"}


def test_the_rebuild_stands_in_for_n1_and_is_noted(folder: Path) -> None:
    (folder / "N1.jsonl").rename(folder / "N1_rebuilt.jsonl")
    assert any("N1 is a rebuild" in note for note in read_benchmarks(folder, ["N1"]).notes)
    assert not any("rebuild" in note for note in read_benchmarks(folder, ["D1"]).notes)


def test_rejected_rows_name_their_file(folder: Path) -> None:
    _jsonl(folder / "D2.jsonl", [_row("D2", "diff", 0), _row("D2", "equal", 0, question=" ")])
    assert read_benchmarks(folder, ["D1", "D2"]).rejected == ((2, "D2.jsonl: the prompt is empty"),)


def test_bad_folders(folder: Path) -> None:
    with pytest.raises(BadInput, match="No benchmark is called 'D5'"):
        read_benchmarks(folder, ["D1", "D5"])
    (folder / "D2.jsonl").write_bytes((folder / "D1.jsonl").read_bytes())
    with pytest.raises(BadInput, match="The id 'D1:diff:0000' is repeated"):
        read_benchmarks(folder)
    (folder / "D2.jsonl").unlink()
    with pytest.raises(BadInput, match="lacks this file"):
        read_benchmarks(folder)
    with pytest.raises(BadInput, match="no folder"):
        read_benchmarks(folder / "absent")


def test_the_shipped_questions_are_cases() -> None:
    found = shipped()
    assert len(found.cases) == 768
    for case in found.cases:
        assert option_texts(case.prompt) == (case.stem, case.options)
        assert (case.right == 2) == (case.gold == "NO")
        assert case.twins == case.scenario


Finder = Callable[[str], Path]


def _case(number: int, scenario: str, split: str = "", twins: str = "", condition: str = "diff") -> Case:
    return Case(
        id=f"c{number}", prompt=f"Who? {number}", gold="YES" if condition == "diff" else "NO", benchmark="D1",
        condition=condition, scenario=scenario, twins=twins or scenario, split=split,
    )  # fmt: skip


def test_the_row_split_is_one_generator_over_the_groups_in_order() -> None:
    groups = [("D1", "diff")] * 30 + [("D1", "equal")] * 17 + [("D2", "diff")] * 9
    rng = random.Random(42)
    expected: list[str] = []
    for size, train, val in ((30, 24, 3), (17, 13, 1), (9, 7, 0)):
        order = list(range(size))
        rng.shuffle(order)
        part = {k: "train" if r < train else "val" if r < train + val else "test" for r, k in enumerate(order)}
        expected += [part[k] for k in range(size)]
    assert published_split(groups) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=80))
def test_every_group_is_cut_by_floors(groups: list[str]) -> None:
    split = published_split(groups)
    for group, size in Counter(groups).items():
        found = Counter(part for part, name in zip(split, groups, strict=True) if name == group)
        assert (found["train"], found["val"]) == (int(0.8 * size), int(0.1 * size))
        assert found.total() == size


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 3))
def test_whole_scenarios_are_held_out(scenarios: list[int], seed: int) -> None:
    cases = [_case(k, f"s{name}", twins=f"t{name % 5}") for k, name in enumerate(scenarios)]
    held = scenario_split(cases, seed=seed)
    assert [replace(case, split="") for case in held] == cases
    assert {case.split for case in held} <= {"train", "val", "test"}
    by_twins: dict[str, set[str]] = {}
    for case in held:
        by_twins.setdefault(case.twins, set()).add(case.split)
    assert all(len(parts) == 1 for parts in by_twins.values())
    check_disjoint(held, by_scenario=True)


def test_the_shares_of_a_scenario_split_and_its_seed() -> None:
    cases = [_case(k, f"s{k // 4}") for k in range(400)]
    held = scenario_split(cases)
    assert Counter(case.split for case in held) == {"train": 320, "val": 40, "test": 40}
    assert held == scenario_split(cases)
    assert held != scenario_split(cases, seed=1)


def test_leakage_by_hand() -> None:
    cases = [
        _case(0, "a", "train"),
        _case(1, "a", "test"),
        _case(2, "b", "test"),
        _case(3, "c", "val"),
        _case(4, "c", "test"),
        _case(5, "d", "test"),
        _case(6, "d", ""),
        _case(7, "a:equal", "train", condition="equal"),
    ]
    assert shared_scenarios(cases) == {"a"}
    assert leakage(cases) == {("D1", "diff"): 0.25, ("D1", "equal"): None}


def test_disjoint_splits_pass_and_others_are_refused() -> None:
    good = [_case(0, "a", "train"), _case(1, "a", "train"), _case(2, "b", "test")]
    check_disjoint(good, by_scenario=True)
    shared = [*good, _case(3, "a", "test")]
    check_disjoint(shared, by_scenario=False)
    with pytest.raises(BadInput, match="1 scenarios are in train and in another split, for example 'a'"):
        check_disjoint(shared, by_scenario=True)
    with pytest.raises(BadInput, match="The id 'c0' is in train and in test"):
        check_disjoint([*good, replace(good[0], split="test", scenario="z")], by_scenario=False)


@pytest.mark.data
def test_published_leakage(public_data: Finder) -> None:
    cases = read_benchmarks(public_data("difference_awareness")).cases
    shares = leakage(cases)
    for benchmark in ("D3", "N4"):
        assert shares[benchmark, "diff"] == shares[benchmark, "equal"] == 1
    assert shares["N3", "diff"] is not None
    assert shares["N3", "equal"] is not None
    assert (shares["N3", "diff"] + shares["N3", "equal"]) / 2 == pytest.approx(0.98)
    assert shares["D4", "diff"] == pytest.approx(0.89)
    assert {shares[name] for name in (("D1", "diff"), ("D1", "equal"), ("D4", "equal"), ("N2", "diff"))} == {0.0}
    held = scenario_split(cases)
    check_disjoint(held, by_scenario=True)
    assert set(leakage(held).values()) == {0.0}
    sizes = Counter(case.split for case in held)
    assert sizes["train"] == pytest.approx(12_800, abs=100)
    assert sizes["test"] == pytest.approx(1_600, abs=100)
