"""The emulation over logit_bias: what is sent, how far it is from the real correction, and a run over a faked endpoint."""

import json
import re

import numpy as np
import pytest

from evenhand.engines.base import Sampling
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.spec import EngineOptions
from evenhand.engines.token_bias import BiasHeader, TokenBias
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.estimate.emulation import (
    EmulationConfig,
    divergence,
    emulate,
    plan_steps,
    sparse_bias,
    step_body,
)

SAMPLING = Sampling(temperature=0, max_tokens=6)
OPTIONS = EngineOptions(max_tries=2, backoff=0.001, timeout=2.0)


def token_bias(table, p_aligned=None, p_reference=None):
    table = np.asarray(table, dtype=np.float32)
    even = np.full(table.shape, 1 / table.shape[1], dtype=np.float32)
    header = BiasHeader(
        length=len(table), vocabulary=table.shape[1], draws=8, pool="p", pool_digest="d", pool_size=2000,
        prompt_lengths=(8, 64), seed=0, tokenizer="t", template="c", aligned={}, reference={}, evenhand="0",
    )  # fmt: skip
    p, q = (even if given is None else np.asarray(given, dtype=np.float32) for given in (p_aligned, p_reference))
    return TokenBias(header, table, np.ones_like(table), p, q)


def test_the_kept_tokens_are_those_of_the_largest_weighted_bias():
    bias = token_bias(
        [[4.0, -1.0, 3.0, 0.0, 2.0]], [[0.01, 0.5, 0.1, 0.2, 0.1]], [[0.01, 0.1, 0.3, 0.2, 0.1]]
    )  # weights 0.04, 0.5, 0.9, 0, 0.2
    assert sparse_bias(bias, EmulationConfig(top=2), 1).entries == {1: 1.0, 2: -3.0}
    assert sparse_bias(bias, EmulationConfig(top=3, alpha=0.5), 1).entries == {1: 0.5, 2: -1.5, 4: -1.0}
    assert set(sparse_bias(bias, EmulationConfig(top=99), 1).entries) == {0, 1, 2, 4}  # no bias, no entry
    assert sparse_bias(bias, EmulationConfig(top=0), 1).entries == {}


def test_values_are_clipped_and_rounded_and_both_are_counted():
    bias = token_bias([[300.0, -250.0, 0.3, 1.7]])
    plain = sparse_bias(bias, EmulationConfig(), 1)
    assert plain.entries == pytest.approx({0: -100.0, 1: 100.0, 2: -0.3, 3: -1.7})
    assert (plain.clipped, plain.rounded_away) == (2, 0)
    whole = sparse_bias(bias, EmulationConfig(integers=True), 1)
    assert whole.entries == {0: -100.0, 1: 100.0, 3: -2.0}
    assert (whole.clipped, whole.rounded_away) == (2, 1)


def test_the_averaged_form_takes_means_over_the_corrected_positions():
    bias = token_bias([[2.0, 0.0, -1.0], [0.0, 4.0, -1.0], [9.0, 9.0, 9.0]])
    found = sparse_bias(bias, EmulationConfig(form="averaged", length=2), 1)
    assert found.entries == {0: -1.0, 1: -2.0, 2: 1.0}


def test_settings_that_make_no_sense_are_refused():
    bias = token_bias([[1.0, 2.0]])
    with pytest.raises(BadInput, match=r"no correction at position 2.*Positions are 1 to 1"):
        sparse_bias(bias, EmulationConfig(), 2)
    with pytest.raises(BadInput, match=r"length=3 is not possible"):
        plan_steps(bias, EmulationConfig(length=3), 8)
    with pytest.raises(BadInput, match="alpha = -1 is negative"):
        sparse_bias(bias, EmulationConfig(alpha=-1), 1)


@pytest.mark.parametrize(
    ("form", "max_tokens", "lengths"),
    [
        ("stepwise", 6, [1, 1, 1, 3]),
        ("stepwise", 3, [1, 1, 1]),
        ("stepwise", 2, [1, 1]),
        ("averaged", 6, [3, 3]),
        ("averaged", 2, [2]),
    ],
)
def test_l_plus_one_requests_or_two(form, max_tokens, lengths):
    bias = token_bias(np.arange(1, 13).reshape(3, 4))
    steps = plan_steps(bias, EmulationConfig(form=form), max_tokens)
    assert [step.max_tokens for step in steps] == lengths
    assert [step.bias is None for step in steps] == [False] * (len(steps) - 1) + [max_tokens > 3]
    if form == "stepwise":
        assert [step.bias.entries[0] for step in steps[:2]] == [-1.0, -5.0]


def test_a_body_holds_the_prompt_the_text_so_far_and_its_own_bias_and_seed():
    bias = token_bias([[1.5, -2.5], [3.0, 0.0]])
    steps = plan_steps(bias, EmulationConfig(), 6)
    bodies = [json.loads(step_body("m", "x", "Prompt:", " so far" * at, steps, at, SAMPLING)) for at in range(3)]
    assert [body["prompt"] for body in bodies] == ["Prompt:", "Prompt: so far", "Prompt: so far so far"]
    assert [body.get("logit_bias") for body in bodies] == [{"0": -1.5, "1": 2.5}, {"0": -3.0}, None]
    assert [body["max_tokens"] for body in bodies] == [1, 1, 4]
    assert len({body["seed"] for body in bodies}) == 3
    assert all("messages" not in body and body["temperature"] == 0 for body in bodies)
    whole = EmulationConfig(integers=True)
    raw = step_body("m", "x", "P", "", plan_steps(bias, whole, 6), 0, SAMPLING, integers=True)
    assert b'"logit_bias": {"0": -2, "1": 2}' in raw


def test_the_divergence_of_two_tokens_is_the_one_worked_out_by_hand():
    bias = token_bias([[1.0, -1.0]], [[0.9, 0.1]], [[0.9, 0.1]])
    none, one, both = divergence(np.zeros((1, 2)), np.array([1]), bias, EmulationConfig(), [1, 2])
    p = 1 / (1 + np.exp(2))  # dense: logits -1 and 1
    q = 1 / (1 + np.exp(1))  # K = 1: only token 0, with the larger weight, is lowered

    def kl(b):
        return p * np.log(p / b) + (1 - p) * np.log((1 - p) / (1 - b))

    assert none.mean == pytest.approx(kl(0.5), rel=1e-6)
    assert one.mean == pytest.approx(kl(q), rel=1e-6)
    assert both.mean == pytest.approx(0, abs=1e-12)
    assert [(found.top, found.entries, found.contexts) for found in (none, one, both)] == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 2, 1),
    ]


def test_more_tokens_come_closer_and_all_of_them_leave_nothing():
    draw = np.random.default_rng(0)
    probability = draw.dirichlet(np.full(200, 0.1), size=4)
    bias = token_bias(draw.normal(0, 1, (4, 200)), probability, probability)
    positions = draw.integers(1, 6, 64)
    logits = np.log(probability[np.minimum(positions, 4) - 1] + 1e-9) + draw.normal(0, 0.5, (64, 200))
    found = divergence(logits.astype(np.float32), positions, bias, EmulationConfig(), [5, 20, 80, 200])
    means = [each.mean for each in found]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.05
    assert means[-1] < 1e-12
    assert all(each.largest >= each.mean for each in found)
    assert {each.contexts for each in found} == {int((positions <= 4).sum())}
    averaged = divergence(logits, positions, bias, EmulationConfig(form="averaged"), [200])
    assert averaged[-1].mean > 0.01  # no K makes up for one vector in the place of four
    rounded = divergence(logits, positions, bias, EmulationConfig(integers=True), [200])
    assert 0 < rounded[-1].mean < means[0]


def test_forbidden_tokens_and_padding_do_not_disturb_the_divergence():
    draw = np.random.default_rng(1)
    bias = token_bias(draw.normal(0, 1, (2, 6)))
    logits = draw.normal(0, 1, (3, 9))
    logits[0, 2] = -np.inf
    found = divergence(logits, np.array([1, 2, 1]), bias, EmulationConfig(), [6])
    assert found[-1].largest < 1e-9
    assert np.isfinite(found[0].largest)
    dense = BiasKernel(bias).apply(logits, np.array([1, 2, 1]))
    assert np.array_equal(dense[:, 6:], logits[:, 6:])


@pytest.mark.parametrize(
    ("logits", "positions", "tops", "message"),
    [
        (np.zeros((1, 2)), [4], [1], "at one of the positions 1 to 1"),
        (np.zeros((1, 2)), [1], [-1], "K = -1 is negative"),
        (np.zeros((1, 2)), [1, 1], [1], "one position each"),
        (np.full((1, 2), np.nan), [1], [1], "Validation logits are numbers"),
        (np.full((1, 2), -np.inf), [1], [1], "no finite largest logit"),
    ],
)
def test_validation_contexts_that_cannot_be_used_are_refused(logits, positions, tops, message):
    with pytest.raises(BadInput, match=message):
        divergence(logits, np.array(positions), token_bias([[1.0, 2.0]]), EmulationConfig(), tops)


class ToyEndpoint:
    """A greedy model of words w0..w9 that prefers w0, takes logit_bias, and ends after ``ends`` words."""

    def __init__(self, ends=99, piece=None):
        self.ends, self.piece = ends, piece

    def __call__(self, body):
        words = re.findall(r"w\d", body["prompt"])
        drawn = []
        logits = np.arange(10, 0, -1.0)
        for token, value in body.get("logit_bias", {}).items():
            logits[int(token)] += value
        while len(drawn) < body["max_tokens"] and len(words) + len(drawn) < self.ends:
            drawn.append(f" w{int(np.argmax(logits))}")
        text = "".join(drawn)
        finish = "length" if len(drawn) == body["max_tokens"] else "stop"
        if self.piece is not None:
            text, finish = self.piece(body, text, finish)
        return {"choices": [{"text": text, "finish_reason": finish}]}


def run(fault_module, answer, config, sampling=SAMPLING, prompts=("P:",), **more):
    table = np.zeros((3, 10), dtype=np.float32)
    table[0, 0], table[1, :2], table[2, :3] = 5.0, 5.0, 5.0  # position i: the first i words are lowered
    with fault_module.FaultServer(answer=answer) as server:
        found = emulate(
            list(prompts), token_bias(table), config, sampling, base_url=server.url, model="m", options=OPTIONS, **more
        )
    return found, server


def test_each_step_has_the_bias_of_its_own_position(fault_module):
    found, server = run(fault_module, ToyEndpoint(), EmulationConfig(), key="sk-secret-key-123")
    assert [(each.text, each.finish, each.requests) for each in found] == [(" w1 w2 w3 w0 w0 w0", "length", 4)]
    assert server.paths == ["/v1/completions"] * 4
    assert [body["prompt"] for body in server.bodies] == ["P:", "P: w1", "P: w1 w2", "P: w1 w2 w3"]
    assert [len(body.get("logit_bias", {})) for body in server.bodies] == [1, 2, 3, 0]
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-secret-key-123"}


def test_the_averaged_form_needs_two_requests_and_is_another_correction(fault_module):
    found, server = run(fault_module, ToyEndpoint(), EmulationConfig(form="averaged"))
    # mean lowering: w0 by 5, w1 by 3.33, w2 by 1.67, of 10, 9, 8: w3 with 7 is the likeliest for three words
    assert (found[0].text, found[0].requests) == (" w3 w3 w3 w0 w0 w0", 2)
    assert [body["max_tokens"] for body in server.bodies] == [3, 3]


def test_many_prompts_come_back_in_their_order(fault_module):
    prompts = [f"P{n}:" for n in range(12)]
    endpoint = ToyEndpoint(piece=lambda body, text, finish: (text + body["prompt"].split(":")[0][1:], finish))
    found, server = run(fault_module, endpoint, EmulationConfig(length=1), Sampling(max_tokens=2), prompts)
    assert [each.text for each in found] == [f" w1{n} w0{n}" for n in range(12)]
    assert len(server.bodies) == 24
    assert server.most_active <= OPTIONS.concurrency
    assert run(fault_module, ToyEndpoint(), EmulationConfig(), prompts=())[0] == []


def test_an_end_token_ends_the_response(fault_module):
    found, server = run(fault_module, ToyEndpoint(ends=2), EmulationConfig())
    assert (found[0].text, found[0].finish, found[0].requests) == (" w1 w2", "stop", 3)
    assert len(server.bodies) == 3


def test_a_stop_string_across_two_requests_is_found(fault_module):
    stopping = Sampling(max_tokens=6, stop=("w2 w3",))
    found, _ = run(fault_module, ToyEndpoint(), EmulationConfig(), stopping)
    assert (found[0].text, found[0].finish, found[0].requests) == (" w1 ", "stop", 3)


@pytest.mark.parametrize("piece", ["\ufffd", ""])
def test_half_a_character_fails_with_its_reason(fault_module, piece):
    endpoint = ToyEndpoint(piece=lambda body, text, finish: (piece, finish))
    found, _ = run(fault_module, endpoint, EmulationConfig())
    assert found[0].finish == "error"
    assert found[0].text == ""
    assert "step 1: the text ends within a character" in found[0].error


def test_reasoning_tags_in_a_piece_are_kept_to_the_byte(fault_module):
    endpoint = ToyEndpoint(piece=lambda body, text, finish: ("<think>", finish))
    found, server = run(fault_module, endpoint, EmulationConfig(length=1))
    assert server.bodies[1]["prompt"] == "P:<think>"
    assert found[0].text == "<think><think>"


def test_faults_are_tried_again_and_a_lasting_one_names_its_step(fault_module):
    found, _ = run(fault_module, ToyEndpoint(), EmulationConfig(), prompts=("P:", "faults=500 P:"))
    assert [each.text for each in found] == [" w1 w2 w3 w0 w0 w0"] * 2
    found, _ = run(fault_module, ToyEndpoint(), EmulationConfig(), prompts=("P:", "faults=500,500,500 P:"))
    assert found[0].finish == "length"
    assert found[1].error.startswith("step 1: HTTP 500")
    with pytest.raises(EngineError, match="Nothing answers at"):
        emulate(
            ["P:"], token_bias([[1.0]]), EmulationConfig(), SAMPLING, base_url="http://127.0.0.1:9/v1", model="m",
            options=OPTIONS,
        )  # fmt: skip
