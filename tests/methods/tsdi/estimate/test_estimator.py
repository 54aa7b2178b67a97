"""The estimator against planted shifts, and its running moments."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.machine import torch_with_threads
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.estimate import estimator as module
from evenhand.methods.tsdi.estimate.estimator import CHECK_EVERY, EstimateSettings, Moments, estimate

torch = torch_with_threads()
DRAWS, LENGTH, TOKENS, OPENERS = 37, 3, 11, [2, 5, 9]


def tables(offset: float = 0.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    z = [torch.from_numpy(rng.normal(offset, 2, (DRAWS, LENGTH, TOKENS))).float() for _ in range(2)]
    return torch.log_softmax(z[0], -1), torch.log_softmax(z[1], -1)


def filled(sizes: list[int], *, ratio: bool = True) -> Moments:
    aligned, reference = tables()
    moments = Moments(LENGTH, TOKENS, OPENERS, "cpu", ratio=ratio)
    low = 0
    for size in sizes:
        moments.add(aligned[low : low + size], reference[low : low + size])
        low += size
    return moments


@settings(max_examples=20)
@given(st.lists(st.integers(0, 12), max_size=8))
def test_any_batches_give_the_moments_of_all(sizes: list[int]) -> None:
    kept, total = [], 0
    for size in sizes:
        kept.append(min(size, DRAWS - total))
        total += kept[-1]
    moments = filled([*kept, DRAWS - total])
    aligned, reference = (table.double().numpy() for table in tables())
    d = aligned - reference
    assert moments.n == DRAWS
    np.testing.assert_allclose(moments.tables["mean"], d.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.variance_of_mean(), d.var(0, ddof=1) / DRAWS, rtol=1e-10)
    np.testing.assert_allclose(moments.tables["p_aligned"], np.exp(aligned).mean(0), atol=1e-7)
    x = (d - d.mean(-1, keepdims=True))[:, :, OPENERS]
    wanted = np.stack([np.cov(x[:, i].T, ddof=1) / DRAWS for i in range(LENGTH)])
    np.testing.assert_allclose(moments.opener_covariance(), wanted, atol=1e-12)
    p, q = np.exp(aligned), np.exp(reference)
    ratio = p / p.mean(0) - q / q.mean(0)
    np.testing.assert_allclose(moments.variance_of_ratio(), ratio.var(0, ddof=1) / DRAWS, rtol=1e-4)


def test_the_size_of_intermediate_tables_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = filled([20, 17]).state()
    monkeypatch.setattr(module, "_ELEMENTS", 1)
    parts = filled([20, 17]).state()
    for name, table in whole.items():
        np.testing.assert_allclose(table, parts[name], atol=1e-13)


def test_large_means_lose_no_digits() -> None:
    moments = Moments(1, 1, [], "cpu")
    values = torch.tensor([[-39.0], [-39.0 + 2**-18], [-39.0 - 2**-18]]).reshape(3, 1, 1)
    for value in values:
        moments.add(value[None], torch.zeros(1, 1, 1))
    assert float(moments.tables["m2"]) == pytest.approx(2 * 2**-36, rel=1e-6)


def test_a_stored_state_goes_on_to_the_same_bytes() -> None:
    aligned, reference = tables()
    whole = filled([10, 10, 17])
    begun = filled([10, 10])
    again = Moments(LENGTH, TOKENS, OPENERS, "cpu", ratio=True)
    again.restore(begun.state(), begun.n)
    again.add(aligned[20:], reference[20:])
    for name, table in whole.state().items():
        assert table.numpy().tobytes() == again.state()[name].numpy().tobytes()


def test_memory_does_not_grow_with_the_draws() -> None:
    small, large = filled([3]).state(), filled([30]).state()
    assert {k: v.shape for k, v in small.items()} == {k: v.shape for k, v in large.items()}


POSITIONS, WIDTH = 4, 120


def planted(tiny: Any, shift: Any, sigma: float = 0.0, width: int = WIDTH, spread: float = 2.0) -> tuple[Any, Any]:
    """aligned = reference + shift[position] + noise of the context."""

    def base(context: Any, row: int) -> Any:
        return tiny.noise(context, "reference", width, spread)

    def tuned(context: Any, row: int) -> Any:
        extra = tiny.noise(context, "aligned", width, sigma) if sigma else 0.0
        return base(context, row) + shift[row] + extra

    return tiny.Source("aligned", tuned), tiny.Source("reference", base)


def centred(shift: Any) -> Any:
    return shift - np.median(shift, axis=1, keepdims=True)


def run(
    tiny: Any, pair: tuple[Any, Any], draws: int, *, length: int = POSITIONS, width: int = WIDTH, **more: Any
) -> Any:
    keys = ("openers", "state", "save_every", "progress")
    extra = {key: more.pop(key) for key in keys if key in more}
    space = more.pop("space", None) or tiny.make_space(width)
    contexts = more.pop("contexts", None) or tiny.make_contexts(length, width=width)
    settings = EstimateSettings(draws, **{"target_error": None, **more})
    return estimate(*pair, contexts, space, settings, **extra)


@pytest.fixture
def shift() -> Any:
    return np.random.default_rng(3).normal(0, 1.5, (POSITIONS, WIDTH))


def test_a_shift_without_noise_is_found_and_its_removal_gives_the_reference_back(tiny: Any, shift: Any) -> None:
    aligned, reference = planted(tiny, shift)
    found = run(tiny, (aligned, reference), 40)
    np.testing.assert_allclose(found.bias, centred(shift), atol=1e-5)
    assert found.standard_error.max() < 0.5  # the constant of the softmax differs from context to context
    context = np.arange(9)
    positions = np.arange(1, POSITIONS + 1)
    tuned = np.stack([aligned.logits(context, row) for row in range(POSITIONS)])
    fixed = BiasKernel(found.bias).apply(tuned, positions)
    plain = np.stack([reference.logits(context, row) for row in range(POSITIONS)])

    def softmax(z: Any) -> Any:
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    np.testing.assert_allclose(softmax(fixed), softmax(plain), atol=1e-5)


def test_errors_are_as_large_as_the_standard_errors_say(tiny: Any) -> None:
    """3,000 cells, 1,024 contexts: 93 to 97 % within two standard errors, none beyond five; RMSE sigma / sqrt(N)."""
    length, width, sigma, draws = 10, 300, 1.0, 1024
    shift = np.random.default_rng(11).normal(0, 1, (length, width))
    found = run(tiny, planted(tiny, shift, sigma, width), draws, length=length, width=width)
    error = found.bias - centred(shift)
    z = np.abs(error) / found.standard_error
    assert 0.93 <= (z < 2).mean() <= 0.97
    assert z.max() < 5
    rmse = _rmse(error)
    assert rmse == pytest.approx(sigma / np.sqrt(draws), rel=0.05)
    assert found.standard_error.mean() == pytest.approx(sigma / np.sqrt(draws), rel=0.1)
    quarter = run(tiny, planted(tiny, shift, sigma, width), draws // 4, length=length, width=width)
    assert _rmse(quarter.bias - centred(shift)) == pytest.approx(2 * rmse, rel=0.1)


def _rmse(error: Any) -> float:
    """Root mean square up to a constant a position, which changes no probability (the gauge has noise of its own)."""
    return float(np.sqrt(((error - error.mean(axis=1, keepdims=True)) ** 2).mean()))


def test_only_the_shift_is_removed_and_the_context_keeps_its_own(tiny: Any, shift: Any) -> None:
    aligned, reference = planted(tiny, shift, 1.0)
    found = run(tiny, (aligned, reference), 512)
    context = np.arange(20, 31)
    rest = aligned.logits(context, 1) - found.bias[1] - reference.logits(context, 1)
    own = tiny.noise(context, "aligned", WIDTH)
    assert np.corrcoef(rest, own)[0, 1] > 0.99


def test_logits_and_log_probabilities_give_the_same_bias(tiny: Any, shift: Any) -> None:
    aligned, reference = planted(tiny, shift, 0.5)

    def normalised(source: Any, constant: float) -> Any:
        def logits(context: Any, row: int) -> Any:
            z = source.logits(context, row)
            return z - np.log(np.exp(z).sum()) + constant

        return tiny.Source(source.name, logits)

    one = run(tiny, (aligned, reference), 64)
    two = run(tiny, (normalised(aligned, 0.0), normalised(reference, 7.0)), 64)
    np.testing.assert_allclose(one.bias, two.bias, atol=2e-6)


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_batch_size_changes_no_context_and_the_estimate_by_rounding_only(tiny: Any, shift: Any, batch: int) -> None:
    pairs = [planted(tiny, shift, 0.5) for _ in range(2)]
    one = run(tiny, pairs[0], 150, batch=150)
    other = run(tiny, pairs[1], 150, batch=batch)
    assert pairs[0][0].seen == pairs[1][0].seen == pairs[1][1].seen
    for name in ("bias", "standard_error", "p_aligned", "p_reference", "opener_covariance"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_estimate(tiny: Any, shift: Any) -> None:
    tables = [
        run(
            tiny, planted(tiny, shift, 0.5), 40, contexts=tiny.make_contexts(POSITIONS, width=WIDTH, seed=seed)
        ).bias.tobytes()
        for seed in (1, 1, 2)
    ]
    assert tables[0] == tables[1] != tables[2]


def test_the_stop_rule_is_asked_at_fixed_numbers_whatever_the_batch(tiny: Any, shift: Any) -> None:
    found = [run(tiny, planted(tiny, shift, 0.5), 4096, target_error=0.06, batch=batch) for batch in (30, 128)]
    assert found[0].draws == found[1].draws < 4096
    assert found[0].draws % CHECK_EVERY == 0
    assert max(found[0].achieved_error) < 0.06
    early = run(tiny, planted(tiny, shift, 0.5), found[0].draws - CHECK_EVERY, batch=128)
    assert max(early.achieved_error) >= 0.06


def test_a_kill_in_the_middle_and_a_resume_give_the_same_bytes(tiny: Any, shift: Any, tmp_path: Path) -> None:
    whole = run(tiny, planted(tiny, shift, 0.5), 200, batch=9, openers=(12, 40))
    state = tmp_path / "state.safetensors"
    aligned, reference = planted(tiny, shift, 0.5)
    calls = 0

    def fails(contexts: Any, length: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 14:
            raise KeyboardInterrupt
        return type(reference).rows(reference, contexts, length)

    reference.rows = fails
    with pytest.raises(KeyboardInterrupt):
        run(tiny, (aligned, reference), 200, batch=9, openers=(12, 40), state=state, save_every=3)
    assert state.exists()
    resumed = planted(tiny, shift, 0.5)
    again = run(tiny, resumed, 200, batch=9, openers=(12, 40), state=state, save_every=3)
    assert 0 < len(resumed[0].seen) < 200  # only what was missing
    for name in ("bias", "standard_error", "p_aligned", "p_reference", "opener_shift", "opener_covariance"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes()
    assert again.achieved_error == whole.achieved_error


def test_a_checkpoint_that_cannot_be_read_is_named(tiny: Any, shift: Any, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"torn")
    with pytest.raises(BadInput, match=r"state\.safetensors: The checkpoint cannot be read"):
        run(tiny, planted(tiny, shift), 16, state=state)


def test_flipped_bits_of_a_checkpoint_are_refused(tiny: Any, shift: Any, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    run(tiny, planted(tiny, shift), 16, state=state)
    data = state.read_bytes()
    for bit in random.Random(3).sample(range(8 * len(data)), 40):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        state.write_bytes(bytes(changed))
        with pytest.raises(BadInput, match=r"state\.safetensors: The checkpoint cannot be read"):
            run(tiny, planted(tiny, shift), 16, state=state)


def test_contexts_with_nan_are_dropped_and_counted_and_too_many_fail(tiny: Any, shift: Any) -> None:
    def broken(every: int) -> tuple[Any, Any]:
        aligned, reference = planted(tiny, shift)
        count = 0

        def rows(contexts: Any, length: int) -> Any:
            nonlocal count
            out = type(aligned).rows(aligned, contexts, length)
            for row in range(len(out)):
                count += 1
                if count % every == 0:
                    out[row, 1, 3] = float("nan")
            return out

        aligned.rows = rows
        return aligned, reference

    found = run(tiny, broken(120), 256)
    assert (found.draws, found.dropped) == (254, 2)
    np.testing.assert_allclose(found.bias, centred(shift), atol=1e-5)
    with pytest.raises(EngineError, match=r"of 128 contexts gave logits that are not finite .* more than 1%"):
        run(tiny, broken(20), 256)


def test_minus_infinity_is_floored(tiny: Any, shift: Any) -> None:
    aligned, reference = planted(tiny, shift)
    banned = tiny.Source("aligned", lambda c, row: np.where(np.arange(WIDTH) == 7, -np.inf, aligned.logits(c, row)))
    found = run(tiny, (banned, reference), 16, gauge="none")
    assert np.isfinite(found.bias).all()
    assert -45 < found.bias[0, 7] < -25
    both = run(tiny, (banned, tiny.Source("reference", banned.logits)), 16)
    assert not both.bias.any()


def test_excluded_ids_are_zero_and_ids_beyond_the_tokenizer_are_in_no_softmax(tiny: Any, shift: Any) -> None:
    """Columns behind the valid ids hold huge logits: they would take all probability if they counted (9.7)."""
    aligned, reference = planted(tiny, shift)

    def wide(source: Any) -> Any:
        return tiny.Source(source.name, lambda c, row: np.concatenate([source.logits(c, row), np.full(8, 50.0)]))

    space = tiny.make_space(WIDTH, excluded=(1, 5))
    plain = run(tiny, (aligned, reference), 32, space=space)
    padded = run(tiny, (wide(aligned), wide(reference)), 32, space=space)
    assert padded.bias.shape == (POSITIONS, WIDTH)
    np.testing.assert_array_equal(plain.bias, padded.bias)
    assert not plain.bias[:, [1, 5]].any()
    assert not plain.standard_error[:, [1, 5]].any()
    assert plain.p_aligned[:, 5].all()
    hole = [i for i in range(WIDTH) if i != 9]
    holed = run(tiny, (aligned, reference), 32, space=tiny.make_space(WIDTH, (9,), hole))
    assert not holed.p_aligned[:, 9].any()
    assert holed.p_aligned.sum(axis=1) == pytest.approx(1, abs=1e-5)
    short = tiny.Source("reference", lambda c, row: reference.logits(c, row)[:-1])
    with pytest.raises(EngineError, match=r"reference returned logits of 119 tokens, .* up to id 119"):
        run(tiny, (aligned, short), 8)


def test_half_precision_is_averaged_away(tiny: Any) -> None:
    """Logits near 20 in bfloat16 have a step of 0.125; the mean over many contexts does not (9.11)."""
    import torch

    shift = np.random.default_rng(2).normal(0, 0.5, (POSITIONS, WIDTH))
    aligned, reference = planted(tiny, shift, spread=1.0)

    class Rounded(tiny.Source):  # type: ignore[name-defined,misc]
        def rows(self, contexts: Any, length: int) -> Any:
            return (super().rows(contexts, length) + 20).to(torch.bfloat16)

    pair = (Rounded("aligned", aligned.logits), Rounded("reference", reference.logits))
    found = run(tiny, pair, 1024, batch=128)
    error = found.bias - centred(shift)
    assert float(np.sqrt((error**2).mean())) < 0.01


def test_the_ratio_of_means_is_much_noisier_and_says_so(tiny: Any) -> None:
    """On a planted shift with strong contexts, the mean log-ratio is several times as exact."""
    shift = np.random.default_rng(4).normal(0, 1, (1, 400))
    found = {
        kind: run(tiny, planted(tiny, shift, 1.0, 400, 3.0), 512, length=1, width=400, estimator=kind)
        for kind in ("mean_log_ratio", "ratio_of_means")
    }
    rmse = {kind: float(np.sqrt(((f.bias - centred(shift)) ** 2).mean())) for kind, f in found.items()}
    assert rmse["ratio_of_means"] > 3 * rmse["mean_log_ratio"]
    told = {kind: float(np.median(f.standard_error)) for kind, f in found.items()}
    assert told["ratio_of_means"] > 3 * told["mean_log_ratio"]


def test_without_a_gauge_the_constant_stays(tiny: Any, shift: Any) -> None:
    free = run(tiny, planted(tiny, shift), 16, gauge="none").bias
    apart = free - centred(shift)
    np.testing.assert_allclose(apart - apart.mean(axis=1, keepdims=True), 0, atol=2e-5)
    assert np.abs(apart).max() > 0.1


@pytest.mark.parametrize("variant", ["aligned", "reference"])
def test_prefixes_written_by_a_model_are_its_own_and_no_batch_changes_them(tiny: Any, shift: Any, variant: Any) -> None:
    """The writer puts all its mass on one token, so every prefix must be that token, and never an excluded one."""

    def writes(token: int) -> Any:
        def logits(context: Any, row: int) -> Any:
            z = tiny.noise(context, "x", WIDTH, 0.1)
            z[token], z[1] = 60.0, 90.0
            return z

        return logits

    sources = {"aligned": tiny.Source("aligned", writes(33)), "reference": tiny.Source("reference", writes(44))}
    space = tiny.make_space(WIDTH, excluded=(1,))
    found = [
        run(tiny, tuple(sources.values()), 12, variant=variant, batch=batch, space=space).bias.tobytes()
        for batch in (12,)
    ]
    token = 33 if variant == "aligned" else 44
    other = sources["reference" if variant == "aligned" else "aligned"]
    assert found
    assert all(
        np.frombuffer(ids, np.int64)[-POSITIONS + 1 :].tolist() == [token] * (POSITIONS - 1) for ids in other.seen
    )
    pairs = [planted(tiny, shift, 0.5) for _ in range(2)]
    for source, batch in zip(pairs, (3, 11), strict=True):
        run(tiny, source, 24, variant=variant, batch=batch)
    index = 1 if variant == "aligned" else 0
    assert pairs[0][index].seen == pairs[1][index].seen


def test_too_few_contexts_are_refused(tiny: Any, shift: Any) -> None:
    with pytest.raises(BadInput, match="At least 2 contexts"):
        run(tiny, planted(tiny, shift), 1)
