"""The shift of the refusal openers in the safety audit: a planted one is found, and what cannot be measured says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from evenhand.config import AuditConfig, make_config
from evenhand.engines.spec import open_engine
from evenhand.findings.decide import decided, is_found
from evenhand.findings.families import hold_family
from evenhand.methods.tsdi.estimate import models
from evenhand.methods.tsdi.safety.findings import RULES
from evenhand.methods.tsdi.safety.opener_shift import measure, opener_findings, reference_of
from evenhand.report.build import build_report
from evenhand.runs.method import Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run
from evenhand.runs.runner import run_audits

RAISED, NATS = "I", 3.0
NOTHING = lambda what, done, total: None  # noqa: E731


class Named:
    """An engine that is nothing but its name."""

    def __init__(self, spec: str):
        self.spec = spec


def context(config: AuditConfig, *engines: Any, others: Mapping[str, Any] | None = None) -> Context:
    configurations = [Configuration(engine.spec, engine) for engine in engines]
    return Context(config, configurations, None, Run(Path(), {}), NOTHING, dict(others or {}))


@pytest.fixture
def organism() -> Iterator[Any]:
    engine = open_engine("organism/sft")
    yield engine
    engine.close()


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, organism: Any) -> int:
    """Both models are one, but for the first token "I", which the aligned one has 3 nats higher; returns its id."""
    (token,) = organism.tokenizer(RAISED, add_special_tokens=False).input_ids
    real = models.ModelRows(organism)

    class Planted:
        def __init__(self, engine: Any):
            self.name, self.device, self.raised = engine.spec, real.device, engine.spec == "organism/sft"

        def rows(self, contexts: Any, length: int) -> Any:
            logits = real.rows(contexts, length).clone()
            if self.raised:
                logits[:, 0, token] += NATS
            return logits

        def sample(self, *given: Any) -> Any:
            raise AssertionError("the prefix is random")

    monkeypatch.setattr(models, "ModelRows", Planted)
    return int(token)


def test_a_planted_shift_is_found_at_its_position_and_no_other(planted: int, organism: Any) -> None:
    config = make_config(models=("organism/sft",), bias_draws=32)
    seen: list[tuple[str, int, int]] = []
    told = measure(context(config, organism), Configuration("organism/sft", organism), lambda *step: seen.append(step))
    assert (told.reason, told.reference, told.draws) == ("", "organism/base", 32)
    assert seen[-1] == ("organism/sft · random contexts", 32, 32)
    shifts = {name: shift for name, shift, _, _ in told.openers}
    assert shifts[RAISED] == pytest.approx(NATS, abs=0.02)
    assert [name for name, shift in shifts.items() if abs(shift) > 0.02] == [RAISED]
    findings = {(f.slice["position"], f.slice["among"]): f for f in decided(hold_family(opener_findings(told)), RULES)}
    assert len(findings) == 20
    first = findings["1", "all"]
    assert (first.unit, first.reference, first.n) == ("nats", "organism/base", 32)
    assert first.estimate == pytest.approx(NATS / first.clusters["openers"], abs=0.02)
    assert is_found(first)
    for position in range(2, 11):
        assert findings[str(position), "all"].estimate == pytest.approx(0.0, abs=1e-6)
        assert not is_found(findings[str(position), "all"])


def test_contexts_follow_the_seed_and_the_system_prompt(planted: int, organism: Any) -> None:
    def errors(prompt: str | None = None, **settings: Any) -> list[float]:
        config = make_config(models=("organism/sft",), bias_draws=8, **settings)
        told = measure(context(config, organism), Configuration("organism/sft", organism, prompt), NOTHING)
        assert told.positions is not None
        return [float(x) for x in told.positions["opener_mass_reference"]]

    assert errors() == errors()
    assert errors() != errors(seed=1)
    assert errors() != errors("Be brief.")


@pytest.mark.parametrize(
    ("spec", "settings", "reason"),
    [
        ("openai/m", {}, "an endpoint does not give the log-probabilities"),
        ("organism/aligned", {"bias_draws": 0}, "skipped with --bias-draws 0"),
        ("organism/aligned+tsdi:./bias", {}, "already corrected by a bias"),
        ("organism/aligned", {}, "not a local model"),
    ],
)
def test_what_cannot_be_measured_says_why(spec: str, settings: dict[str, Any], reason: str) -> None:
    engine: Any = Named(spec)
    told = measure(context(make_config(models=(spec,), **settings), engine), Configuration(spec, engine), NOTHING)
    assert reason in told.reason
    (finding,) = opener_findings(told)
    assert (finding.estimate, finding.interval, finding.reason) == (None, None, told.reason)


def test_a_model_without_a_known_parent_and_one_that_is_its_own(organism: Any) -> None:
    base = open_engine("organism/base")
    told = measure(context(make_config(models=("organism/base",)), base), Configuration("organism/base", base), NOTHING)
    base.close()
    assert "that it was tuned from is not known" in told.reason
    config = make_config(models=("organism/sft",), reference="organism/sft")
    told = measure(context(config, organism), Configuration("organism/sft", organism), NOTHING)
    assert told.reason == "the model is its own reference"


def test_a_reference_that_cannot_be_opened_is_told_and_stops_nothing(organism: Any, tmp_path: Path) -> None:
    config = make_config(models=("organism/sft",), reference=f"hf/{tmp_path}/none")
    told = measure(context(config, organism), Configuration("organism/sft", organism), NOTHING)
    assert told.reason.startswith("it could not be estimated: ")


@pytest.mark.parametrize(
    ("spec", "settings", "reference"),
    [
        ("organism/aligned", {}, "organism/sft"),
        ("organism/even", {}, "organism/even_sft"),
        ("organism/base", {}, ""),
        ("organism/aligned", {"reference": "organism/dpo"}, "organism/dpo"),
        ("hf/me/tuned", {}, ""),
        ("hf/me/tuned", {"stages": {"sft": "hf/me/sft", "sft-dpo": "hf/me/tuned", "base": "hf/me/base"}}, "hf/me/sft"),
        ("hf/me/sft", {"stages": {"sft": "hf/me/sft", "sft-dpo": "hf/me/tuned", "base": "hf/me/base"}}, "hf/me/base"),
    ],
)
def test_the_reference_is_the_one_named_or_known(spec: str, settings: dict[str, Any], reference: str) -> None:
    engine: Any = Named(spec)
    others = {other: Named(other) for other in settings.get("stages", {}).values()}
    made = context(make_config(models=(spec,), **settings), engine, others=others)
    assert reference_of(made, made.configurations[0]) == reference


def test_a_run_of_an_organism_measures_against_its_stage(tmp_path: Path) -> None:
    config = make_config(models=("organism/sft",), only=("safety",), limit=35, repetitions=1, bias_draws=8, draws=100)
    outcome = run_audits(config, tmp_path / "run")
    (result,) = outcome.results
    shifts = [f for f in result.findings if f.estimand == "opener_shift"]
    assert len(shifts) == 20
    assert {f.reference for f in shifts} == {"organism/base"}
    assert all(f.estimate is not None or f.reason for f in shifts)
    assert "refusal openers at the first token, against organism/base" in result.verdicts[0].detail or result.missing
    assert (tmp_path / "run" / "safety" / "grades.parquet").exists()
    assert build_report(tmp_path / "run").stat().st_size > 50_000


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_an_adapter_is_measured_against_its_own_base(organism: Any, tmp_path: Path) -> None:
    import shutil

    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    shutil.copytree(organism.checkpoint.folder, base)
    shutil.copytree(organism.checkpoint.tokenizer_folder, base, dirs_exist_ok=True)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "lora")
    spec = f"hf/{base}+{tmp_path / 'lora'}"
    policy = open_engine(spec)
    made = context(make_config(models=(spec,), bias_draws=4), policy)
    told = measure(made, made.configurations[0], NOTHING)
    assert (told.reason, told.reference, told.draws) == ("", f"hf/{base}", 4)
    assert told.positions is not None
    assert told.positions["largest_bias"].max() > 1e-3  # type: ignore[operator]
    assert next(iter(policy.model.parameters())) is not None  # the policy stays open
    policy.close()
