"""The settings of an audit: shared ones and each method's own, nested or flat, from Python, a file or an older run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from evenhand import config as settings_module
from evenhand.config import AuditConfig, audit_settings, load_config, make_config, nested_plan
from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.config import PluralismSettings
from evenhand.methods.reward.margins.config import RewardSettings
from evenhand.methods.reward.pronouns.items import open_affirmation
from evenhand.methods.service.config import ServiceSettings
from evenhand.methods.tsdi.config import SafetySettings
from evenhand.registry import Method, built_in_methods
from evenhand.runs.run import Run
from evenhand.runs.runner import plan_of
from evenhand.settings import Settings


class MineSettings(Settings):
    """Settings of a plug-in's method."""

    brings_prompts: ClassVar[tuple[str, ...]] = ("riddles",)

    mine_depth: int = Field(2, ge=1, description="Depth.")
    riddles: Path | None = Field(None, description="Riddles to ask.")


class ClashingSettings(Settings):
    """Settings with a name that is taken."""

    tau: float = Field(1.0, description="Another tau.")


class LackingSettings(Settings):
    """Settings with a field that has no default."""

    needed: int = Field(description="Needed.")


def with_method(monkeypatch: pytest.MonkeyPatch, settings: type[Settings], name: str = "mine") -> None:
    mine = Method(name, "Mine", "a plug-in", audit="x:y", settings=f"{__name__}:{settings.__name__}")
    methods = tuple(method for method in built_in_methods() if method.settings and method.audit)
    monkeypatch.setattr(settings_module, "_methods", lambda: (*methods, mine))


def test_flat_and_nested_settings_are_the_same() -> None:
    flat = make_config(tau=0.2, scope=("sentence", "shared"), bias_draws=0, seed=3)
    nested = make_config(reward={"tau": 0.2, "scope": ["sentence", "shared"]}, safety={"bias_draws": 0}, seed=3)
    mixed = make_config(reward=RewardSettings(tau=0.2, scope=("sentence", "shared")), bias_draws=0, seed=3)
    assert flat == nested == mixed
    assert flat.of(RewardSettings).tau == 0.2
    assert flat.of(SafetySettings).bias_draws == 0
    assert flat.of(ServiceSettings) == ServiceSettings()
    assert make_config(tau=0.2, reward={"scope": ["shared"]}).of(RewardSettings).scope == ("shared",)


def test_every_setting_can_be_given_flat_and_under_its_method() -> None:
    for name, place in audit_settings().items():
        if place.method and place.field.default is not None:
            value = place.field.default
            assert make_config(**{name: value}) == make_config(**{place.method: {name: value}}) == make_config(), name


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"tau": 0.2, "reward": {"tau": 0.3}}, "tau is given twice: by itself and under reward"),
        ({"taw": 0.2}, r"taw: there is no such setting \(nearest: reward\.tau\)"),
        ({"sed": 1}, r"sed: there is no such setting \(nearest: seed\)"),
        ({"reward": {"scopes": []}}, r"reward\.scopes: there is no such setting \(nearest: reward\.scope"),
        ({"service": {"tau": 1}}, r"service\.tau: there is no such setting here; it is reward\.tau"),
        ({"reward": {"seed": 1}}, r"reward\.seed: there is no such setting here; it is seed"),
        ({"reward": {"zzzzzz": 1}}, r"reward\.zzzzzz: there is no such setting \(known: pair_set, scope, tau\)"),
        ({"tau": "x"}, r"^tau: Input should be a valid number"),
        ({"reward": {"tau": "x"}}, r"^reward\.tau: Input should be a valid number"),
        ({"reward": 3}, "reward: Input should be a valid dictionary"),
        ({"reward": 3, "tau": 0.2}, "reward: Input should be a valid dictionary"),
        ({"scale": (1.0,)}, "a scale needs two ends"),
    ],
)
def test_what_cannot_be_used_is_named_where_it_was_given(values: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        make_config(**values)


def test_prompts_of_the_users_own_leave_no_room_for_a_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names and stems would make prompts; labels already holds rows"):
        make_config(labels=tmp_path / "l.csv", names=tmp_path / "n.csv", stems=tmp_path / "s.csv")
    with pytest.raises(BadInput, match="names would make prompts; data already holds rows"):
        make_config(data=tmp_path / "d.csv", service={"names": tmp_path / "n.csv"})
    assert make_config(names=tmp_path / "n.csv").own_prompts == ("names",)


def test_a_file_of_nested_settings_is_read_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\nreward: {tau: 0.2, pair_set: [identity]}\nservice:\n  unsafe: xstest\n")
    with caplog.at_level(logging.WARNING):
        found = load_config(path, {"scope": ("shared",), "seed": 4})
    assert not caplog.records
    assert found == make_config(seed=4, tau=0.2, pair_set=("identity",), scope=("shared",), unsafe="xstest")


def test_a_file_of_an_older_version_is_read_with_one_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\ntau: 0.2\npair_set: [identity]\nunsafe: xstest\n")
    with caplog.at_level(logging.WARNING):
        found = load_config(path, {"tau": 0.4})
    assert found == make_config(seed=3, tau=0.4, pair_set=("identity",), unsafe="xstest")
    (record,) = caplog.records
    told = record.getMessage()
    assert told.startswith(f"{path}: ")
    assert "reward: {tau, pair_set}, service: {unsafe}" in told


@pytest.mark.parametrize(
    ("text", "overrides", "why"),
    [
        (
            "seed: 1\nreward:\n  scope: [sentence]\n  tau: x\n",
            {},
            "reward.tau (line 4): Input should be a valid number",
        ),
        ("seed: 1\nreward:\n  taw: 1\n", {}, "reward.taw (line 3): there is no such setting (nearest: reward.tau)"),
        ("seed: 1\ntau: -1\n", {}, "tau (line 2): Input should be greater than 0"),
        ("tau: 1\nreward: {tau: 2}\n", {}, "tau (line 1) is given twice: by itself and under reward"),
        ("seed: 1\nrewards: {tau: 2}\n", {}, "rewards (line 2): there is no such setting"),
        ("seed: 1\nreward: {tau: 2}\n", {"tau": -1.0}, "tau: Input should be greater than 0"),
        ("seed: 1\nreward: 3\n", {"tau": 0.2}, "reward (line 2): Input should be a valid dictionary"),
        ("seed: 1\nreward: 3\n", {}, "reward (line 2): Input should be a valid dictionary"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_line(
    tmp_path: Path, text: str, overrides: dict[str, Any], why: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_config(path, overrides)
    assert str(caught.value).startswith(f"{path}: {why}")


def test_the_settings_of_a_plug_in_work_like_those_of_a_built_in_method(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_method(monkeypatch, MineSettings)
    flat, nested = make_config(mine_depth=5), make_config(mine={"mine_depth": 5})
    assert flat == nested
    assert flat.of(MineSettings).mine_depth == 5
    assert audit_settings()["mine_depth"].method == "mine"
    path = tmp_path / "c.yaml"
    path.write_text("mine:\n  mine_dept: 5\n")
    with pytest.raises(
        BadInput, match=r"mine\.mine_dept \(line 2\): there is no such setting \(nearest: mine\.mine_depth\)"
    ):
        load_config(path, {})
    (tmp_path / "r.txt").write_text("?")
    given = make_config(riddles=tmp_path / "r.txt")
    assert given.files == [tmp_path / "r.txt"]
    assert given.own_prompts == ("riddles",)
    assert flat.model_dump()["mine"] == {"mine_depth": 5, "riddles": None}


def test_a_method_that_is_not_registered_has_its_defaults() -> None:
    assert AuditConfig().of(MineSettings).mine_depth == 2
    assert make_config().of(PluralismSettings).wordings == 4


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        (ClashingSettings, "mine", "The method 'mine' has a setting 'tau', which is a setting of the method 'reward'"),
        (MineSettings, "seed", "The method 'seed' has a setting 'seed', which is a setting of every audit"),
        (LackingSettings, "mine", "The setting 'needed' of the method 'mine' has no default"),
    ],
)
def test_a_plug_in_whose_settings_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[Settings], name: str, why: str
) -> None:
    with_method(monkeypatch, settings, name)
    with pytest.raises(BadInput, match=why):
        make_config()


def test_every_file_of_the_settings_is_an_input_of_the_run(tmp_path: Path) -> None:
    for name in ("p.csv", "c.csv", "h.csv", "u.csv", "s.txt"):
        (tmp_path / name).write_text("x")
    found = make_config(
        data=tmp_path / "p.csv", calibration=tmp_path / "c.csv", grader=("prefix", f"human={tmp_path / 'h.csv'}"),
        unsafe=str(tmp_path / "u.csv"), system_prompt=(tmp_path / "s.txt",), human_ratings="x" * 5000,
    )  # fmt: skip
    assert [path.name for path in found.files] == ["c.csv", "h.csv", "p.csv", "s.txt", "u.csv"]
    plan = plan_of(found, [], {}, {})
    assert [Path(str(entry["path"])).name for entry in plan["inputs"]] == ["c.csv", "h.csv", "p.csv", "s.txt", "u.csv"]
    assert plan["config"]["service"]["unsafe"] == str(tmp_path / "u.csv")


def flat_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan as a run of an older version holds it."""
    flat: dict[str, Any] = {}
    for name, value in plan["config"].items():
        flat |= value if name in {place.method for place in audit_settings().values()} else {name: value}
    return {**plan, "config": flat, "inputs": plan["inputs"][::-1]}


def test_a_run_of_an_older_version_is_resumed_under_the_same_settings_alone(tmp_path: Path) -> None:
    for name in ("p.csv", "c.csv"):
        (tmp_path / name).write_text("x")
    config = make_config(tau=0.2, data=tmp_path / "p.csv", calibration=tmp_path / "c.csv", stages={"sft": "hf/x"})
    plan = plan_of(config, [], {}, {})
    Run.start(tmp_path / "run", flat_plan(plan), resume=False).release()
    Run.start(tmp_path / "run", plan, resume=True).release()
    other = plan_of(config.model_copy(update={"reward": RewardSettings(tau=0.3)}), [], {}, {})
    with pytest.raises(BadInput, match=r"config\.reward\.tau was 0\.2 and is now 0\.3"):
        Run.start(tmp_path / "run", other, resume=True)


def test_the_plan_of_another_command_is_left_as_it_is() -> None:
    plan = {"config": {"tau": 0.01, "columns": {"a": "b"}, "difference_set": "shipped"}, "audits": ["drift"]}
    assert nested_plan(plan, plan) == plan


def test_a_set_that_nobody_registered_is_named_with_those_that_are() -> None:
    with pytest.raises(BadInput, match=r"No pronoun set is called 'tangle'\. Known: misgendered, shipped, tango"):
        open_affirmation(make_config(affirmation_set=("tangle",)))
