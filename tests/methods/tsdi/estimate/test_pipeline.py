"""A whole estimate into a run folder: artefact, tables, findings, warnings; killed and resumed with the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.engines.token_bias import BiasHeader, TokenBias, read_token_bias, vocabulary_digest
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.config import TsdiConfig
from evenhand.methods.tsdi.estimate import pipeline
from evenhand.methods.tsdi.estimate.models import ModelRows
from evenhand.methods.tsdi.estimate.pipeline import Prepared, kept, run_tsdi
from evenhand.methods.tsdi.estimate.verdict import IDENTICAL, LOWERED
from evenhand.runs.method import AuditResult

Config = Callable[..., Any]
FILES = ("bias/bias.safetensors", "bias/header.json", "tsdi/positions.parquet", "tsdi/tokens.parquet", "findings.json")
KILLED = """
import json, os, signal, sys
from pathlib import Path
from evenhand.methods.tsdi.config import TsdiConfig
from evenhand.methods.tsdi.estimate.models import ModelRows
from evenhand.methods.tsdi.estimate.pipeline import run_tsdi
rows, calls = ModelRows.rows, 0
def counted(self, contexts, length):
    global calls
    calls += 1
    if calls == 41:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows(self, contexts, length)
ModelRows.rows = counted
run_tsdi(TsdiConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def done(pair: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One finished estimate of the pair."""
    config = TsdiConfig(
        model=f"hf/{pair.aligned}", reference=f"hf/{pair.reference}", pool=str(pair.pool), draws=200, fixed=True, length=3,
        prompt_lengths=(4, 12), batch=8, device="cpu",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "run"
    run, results = run_tsdi(config, folder)
    return SimpleNamespace(config=config, folder=folder, run=run, results=results)


def test_the_artefact_tells_what_it_was_made_from(done: SimpleNamespace, pair: SimpleNamespace) -> None:
    bias = read_token_bias(done.folder / "bias")
    header = bias.header
    assert (header.length, header.vocabulary, header.draws) == (3, len(pair.tokenizer), 200)
    assert header.tokenizer == vocabulary_digest(pair.tokenizer)
    assert header.aligned["spec"] == f"hf/{pair.aligned}"
    assert header.aligned["weights"] != header.reference["weights"]
    assert header.aligned["dtype"] == "float32"
    assert header.excluded == (0, 1, 2, 3, 4, 5)
    assert not bias.bias[:, :6].any()
    np.testing.assert_allclose(np.median(bias.bias, axis=1), 0, atol=0.02)  # centred, but for the excluded ids
    assert header.openers
    assert header.achieved_error == pytest.approx(float(bias.standard_error.max()), rel=0.5)
    assert not (done.folder / "tsdi" / "estimate.safetensors").exists()


def test_the_estimate_agrees_with_averaging_bare_forward_passes(done: SimpleNamespace, config: Config) -> None:
    """Context by context, alone, all logits, no padding: an estimate of another path."""
    import torch

    prepared = Prepared(done.config)
    models = [prepared.models.aligned.model, prepared.models.reference.model]
    total = np.zeros((3, 320))
    valid = torch.from_numpy(prepared.space.valid)
    for number in range(200):
        ids = torch.from_numpy(prepared.contexts.ids(prepared.contexts.draw(number))[None])
        with torch.inference_mode():
            ours, theirs = (torch.log_softmax(m(input_ids=ids).logits[0, -3:].double()[:, valid], -1) for m in models)
        total[:, prepared.space.valid] += (ours - theirs).numpy() / 200
    prepared.models.close()
    wanted = total - np.median(total[:, prepared.space.valid], axis=1, keepdims=True)
    measured = prepared.space.valid[prepared.space.measured].tolist()
    np.testing.assert_allclose(read_token_bias(done.folder / "bias").bias[:, measured], wanted[:, measured], atol=1e-4)


def test_findings_are_the_opener_shift_by_position(done: SimpleNamespace) -> None:
    (result,) = done.results
    assert [f.slice["position"] for f in result.findings] == ["1", "1", "2", "2", "3", "3"]
    first = result.findings[0]
    bias = read_token_bias(done.folder / "bias")
    openers = list(bias.header.openers)
    assert (first.estimand, first.unit, first.n) == ("opener_shift", "nats", 200)
    # The table is centred at the median over the valid tokens, and so is the shift.
    assert first.estimate == pytest.approx(float(bias.bias[0, openers].mean()), abs=1e-5)
    assert first.standard_error is not None
    assert 0 < first.standard_error <= float(bias.standard_error[0, openers].max()) * 1.5
    assert first.interval is not None
    assert first.interval.low < first.estimate < first.interval.high
    written = json.loads((done.folder / "findings.json").read_text())["audits"]["tsdi"]
    assert len(written["findings"]) == 6
    assert done.run.manifest["state"] == "done"


def test_the_table_of_tokens_holds_the_twenty_extremes(done: SimpleNamespace) -> None:
    tokens = pl.read_parquet(done.folder / "tsdi" / "tokens.parquet")
    bias = read_token_bias(done.folder / "bias")
    for position in (1, 2, 3):
        part = tokens.filter((pl.col("position") == position) & (pl.col("among") == "all"))
        raised = part.filter(pl.col("direction") == "raised")
        assert raised.height == part.height - raised.height == 20
        wanted = np.sort(bias.bias[position - 1])
        np.testing.assert_allclose(raised["bias"].to_numpy(), wanted[::-1][:20])
        np.testing.assert_allclose(part.filter(pl.col("direction") == "lowered")["bias"].to_numpy(), wanted[:20])
    likely = tokens.filter(pl.col("among") == "likely")
    assert (likely.select(pl.max_horizontal("p_aligned", "p_reference")).to_series() > 1e-4).all()


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_batch_size_changes_the_estimate_by_rounding_only(
    done: SimpleNamespace, config: Config, tmp_path: Path, batch: int
) -> None:
    run_tsdi(done.config.model_copy(update={"batch": batch}), tmp_path / "run")
    one, other = read_token_bias(done.folder / "bias"), read_token_bias(tmp_path / "run" / "bias")
    np.testing.assert_allclose(one.bias, other.bias, atol=2e-5)
    assert one.header.pool_digest == other.header.pool_digest


def test_an_error_in_the_middle_and_a_resume(
    done: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, calls = ModelRows.rows, 0

    def counted(self: Any, contexts: Any, length: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 38:
            raise KeyboardInterrupt
        return rows(self, contexts, length)

    monkeypatch.setattr(ModelRows, "rows", counted)
    with pytest.raises(KeyboardInterrupt):
        run_tsdi(done.config, tmp_path / "run")
    assert (tmp_path / "run" / "tsdi" / "estimate.safetensors").exists()
    before = calls
    run_tsdi(done.config, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(done.folder)
    assert calls - before == 2 * (25 - 16)  # 25 batches in all, two checkpoints of 8 were there


def test_killed_outright_and_resumed(done: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [sys.executable, "-c", KILLED, done.config.model_dump_json(), str(folder)]
    ended = subprocess.run(words, capture_output=True, check=False, timeout=200)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not (folder / "bias").exists()
    run_tsdi(done.config, folder, resume=True)
    assert contents(folder) == contents(done.folder)
    run_tsdi(done.config, folder, resume=True)  # finished: everything is read, nothing done again
    assert contents(folder) == contents(done.folder)


def test_a_run_with_other_settings_is_not_resumed(done: SimpleNamespace, pair: SimpleNamespace) -> None:
    changed = done.config.model_copy(update={"seed": 3})
    with pytest.raises(BadInput, match=r"started with other settings: config\.seed was 0 and is now 3"):
        run_tsdi(changed, done.folder, resume=True)
    with pytest.raises(BadInput, match="already holds a run"):
        run_tsdi(done.config, done.folder)
    swapped = done.config.model_copy(update={"model": done.config.reference, "reference": done.config.model})
    with pytest.raises(BadInput, match=r"identities\.aligned\.digest was"):
        run_tsdi(swapped, done.folder, resume=True)


def test_identical_models_have_nothing_to_correct(
    config: Config, pair: SimpleNamespace, tiny: Any, tmp_path: Path
) -> None:
    twin = tiny.save(tmp_path / "twin", tiny.make_model(), pair.tokenizer)
    _, (result,) = run_tsdi(config(model=f"hf/{twin}"), tmp_path / "run")
    bias = read_token_bias(tmp_path / "run" / "bias")
    assert not bias.bias.any()
    assert IDENTICAL in bias.header.warnings
    assert result.verdicts[0].headline == IDENTICAL
    assert result.verdicts[0].tone == "even"


def test_raised_openers_are_told_and_swapped_models_are_warned_of(
    config: Config, pair: SimpleNamespace, tiny: Any, tmp_path: Path
) -> None:
    """A head that has been turned toward the openers: raised; the same two models the other way round: lowered."""

    class Raised(ModelRows):
        def rows(self, contexts: Any, length: int) -> Any:
            logits = super().rows(contexts, length).clone()
            if "aligned" in self.name:
                logits[..., list(prepared.openers)] += 2.0
            return logits

    prepared = Prepared(config())
    prepared.models.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "ModelRows", Raised)
        _, (result,) = run_tsdi(config(), tmp_path / "raised")
        chosen = config()
        swapped = config(model=chosen.reference, reference=chosen.model)
        _, (other,) = run_tsdi(swapped, tmp_path / "lowered")
    assert result.facts["sign"] == "raised"
    assert "raises refusal openers by +" in result.verdicts[0].headline
    assert result.verdicts[0].tone == "worse"
    assert other.facts["sign"] == "lowered"
    assert LOWERED in read_token_bias(tmp_path / "lowered" / "bias").header.warnings
    assert other.verdicts[0].tone == "unknown"


def test_a_target_that_is_not_reached_is_said(config: Config, tmp_path: Path) -> None:
    _, (result,) = run_tsdi(config(fixed=False, target_error=1e-5), tmp_path / "run")
    assert any("nats after 48 contexts, not below 1e-05: give more --draws." in text for text in result.caveats)


def test_a_model_that_gives_no_numbers_fails_with_the_reason(
    config: Config, pair: SimpleNamespace, tiny: Any, tmp_path: Path
) -> None:
    import torch

    model = tiny.make_model()
    with torch.no_grad():
        model.lm_head.weight[40] = float("nan")
    folder = tiny.save(tmp_path / "broken", model, pair.tokenizer)
    with pytest.raises(EngineError, match="48 of 48 contexts gave logits that are not finite"):
        run_tsdi(config(model=f"hf/{folder}"), tmp_path / "run")


def test_contexts_that_do_not_fit_are_refused_before_any_work(config: Config, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"A context has up to \d+ tokens; hf/.* takes 160"):
        run_tsdi(config(prompt_lengths=(8, 200)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variant", ["aligned", "reference"])
def test_variants_give_other_estimates_and_are_recorded(done: SimpleNamespace, tmp_path: Path, variant: str) -> None:
    run_tsdi(done.config.model_copy(update={"variant": variant, "draws": 24}), tmp_path / "run")
    bias = read_token_bias(tmp_path / "run" / "bias")
    run_tsdi(done.config.model_copy(update={"draws": 24}), tmp_path / "random")
    plain = read_token_bias(tmp_path / "random" / "bias")
    assert bias.header.variant == variant
    np.testing.assert_allclose(bias.bias[0], plain.bias[0], atol=2e-5)  # nothing stands before position 1
    assert np.abs(bias.bias[2] - plain.bias[2]).max() > 0.01


def test_the_cost_is_told_exactly_before_any_weights_are_loaded(config: Config) -> None:
    prepared = Prepared(config())
    (_, ours), (_, theirs) = prepared.cost()
    total = sum(len(prepared.contexts.ids(prepared.contexts.draw(n))) for n in range(48))
    assert ours.prompt_tokens == theirs.prompt_tokens == total
    assert ours.calls == 48
    assert ours.exact
    assert prepared.models.aligned._model is None
    prepared.models.close()


def test_a_check_is_called_with_the_artefact_and_its_results_stand_in_the_run(config: Config, tmp_path: Path) -> None:
    def check(chosen: Any, run: Any, folder: Path) -> list[AuditResult]:
        assert read_token_bias(folder).header.length == chosen.length
        assert run.folder == folder.parent
        return [AuditResult("after", [], [], [], rows=3, missing=1)]

    run, results = run_tsdi(config(), tmp_path / "run", check=check)
    assert [result.audit for result in results] == ["tsdi", "after"]
    assert set(run.read_findings()) == {"tsdi", "after"}
    assert run.manifest["audits"]["after"]["missing"] == 1


def test_the_shipped_pair_from_end_to_end(tmp_path: Path) -> None:
    _, (result,) = run_tsdi(TsdiConfig(model="organism/aligned", draws=64, device="cpu"), tmp_path / "run")
    bias = read_token_bias(tmp_path / "run" / "bias")
    assert bias.header.reference["spec"] == "organism/sft"
    assert (bias.header.length, bias.header.draws) == (10, 64)
    assert not bias.header.surrogate
    assert len(result.headlines) == 10
    again = tmp_path / "again"
    run_tsdi(TsdiConfig(model="organism/aligned", draws=64, device="cpu"), again)
    assert contents(again) == contents(tmp_path / "run")


def test_raised_and_openers_zero_the_rest() -> None:
    table = np.array([[1.0, -2.0, 0.5, -0.25], [0.0, 3.0, -1.0, 0.75]], dtype=np.float32)
    header = BiasHeader(
        length=2, vocabulary=4, draws=8, pool="p", pool_digest="d", pool_size=9, prompt_lengths=(1, 2), seed=0, tokenizer="t",
        template="c", aligned={}, reference={}, openers=(1, 2), evenhand="0",
    )  # fmt: skip
    even = np.full_like(table, 0.25)
    bias = TokenBias(header, table, even, even, even)
    assert kept(bias, "all") is bias
    raised = kept(bias, "raised")
    np.testing.assert_array_equal(raised.bias, [[1, 0, 0.5, 0], [0, 3, 0, 0.75]])
    openers = kept(bias, "openers")
    np.testing.assert_array_equal(openers.bias, [[0, -2, 0.5, 0], [0, 3, -1, 0]])
    assert (raised.header.kept, openers.header.kept) == ("raised", "openers")
    assert replace(raised, header=bias.header, bias=bias.bias).digest == bias.digest
    assert len({bias.digest, raised.digest, openers.digest}) == 3
