"""The vLLM shells on faked batches: every row must get the vector of its own request's position, whatever the engine does."""

import logging
import random
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum, auto
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evenhand.bridges import vllm_tsdi
from evenhand.bridges.vllm_tsdi import bind
from evenhand.bridges.vllm_tsdi_rows import ENVIRONMENT, RequestSettings, ServerSettings
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.token_bias import BiasHeader, TokenBias, write_token_bias
from evenhand.errors import BadInput, EngineError

LENGTH, VOCABULARY, WIDTH = 5, 40, 44


def token_bias(seed=0, vocabulary=VOCABULARY):
    draw = np.random.default_rng(seed)
    shape = (LENGTH, vocabulary)
    header = BiasHeader(
        length=LENGTH, vocabulary=vocabulary, draws=8, pool="p", pool_digest="d", pool_size=2000, prompt_lengths=(8, 64),
        seed=0, tokenizer="t", template="c", aligned={}, reference={}, evenhand="0",
    )  # fmt: skip
    probability = np.full(shape, 1 / vocabulary, dtype=np.float32)
    return TokenBias(
        header, draw.normal(0, 2, shape).astype(np.float32), np.ones(shape, np.float32), probability, probability
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    write_token_bias(tmp_path / "bias", token_bias())
    return tmp_path / "bias"


class Direction(Enum):
    UNIDIRECTIONAL = auto()
    SWAP = auto()


@dataclass(frozen=True)
class Update:
    batch_size: int
    removed: list = field(default_factory=list)
    added: list = field(default_factory=list)
    moved: list = field(default_factory=list)


def config(folder, speculative=None, **tsdi):
    return SimpleNamespace(
        additional_config={"tsdi": {"folder": str(folder), **tsdi}} if tsdi else {"tsdi": str(folder)},
        speculative_config=speculative,
        model_config=SimpleNamespace(get_vocab_size=lambda: WIDTH),
    )


def params(**extra):
    return SimpleNamespace(extra_args=extra or None)


@dataclass(eq=False)
class Ask:
    """A request as the oracle sees it."""

    extra: dict
    prompt: int = 7
    output: list = field(default_factory=list)
    computed: int = 0

    def expected(self, row, ahead=0):
        """The row [width] as one request alone would get it, from the kernel."""
        alpha = float(self.extra.get("tsdi_alpha", 1.0))
        position = len(self.output) + 1 + ahead + self.extra.get("tsdi_prefill", 0)
        if not self.extra.get("tsdi", True) or position > LENGTH:
            return row
        return BiasKernel(token_bias(), alpha=alpha).apply(row[None], position)[0]


def v1(folder, **tsdi):
    return bind({})(config(folder, **tsdi), torch.device("cpu"), False)


def check_v1(processor, rows):
    """Apply to random logits and hold each row against its request; None is an empty request never corrected."""
    logits = torch.randn(len(rows), WIDTH)
    got = processor.apply(logits.clone())
    for index, ask in enumerate(rows):
        assert torch.equal(got[index], ask.expected(logits[index])), index


def test_it_can_be_imported_without_vllm_and_without_torch(folder):
    code = (
        "import sys; sys.modules['vllm'] = None; import evenhand.bridges.vllm_tsdi as m; "
        "assert 'torch' not in sys.modules; c = m.TsdiLogitsProcessor; assert c is m.TsdiLogitsProcessor; "
        "assert (c.__module__, c.__name__) == ('evenhand.bridges.vllm_tsdi', 'TsdiLogitsProcessor')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        vllm_tsdi.Other  # noqa: B018


def test_removed_added_and_moved_are_followed_in_that_order(folder):
    processor = v1(folder)
    a, b, c, d = (Ask({}, output=[1] * n) for n in (0, 1, 2, 3))
    processor.update_state(Update(3, added=[(n, params(), [1], ask.output) for n, ask in enumerate((a, b, c))]))
    check_v1(processor, [a, b, c])
    # b leaves, d enters its row, and then the rows of d and c change places
    processor.update_state(Update(3, [1], [(1, params(), [1], d.output)], [(1, 2, Direction.SWAP)]))
    check_v1(processor, [a, c, d])
    # a leaves and the last row fills the gap: nothing stays behind in row 2
    processor.update_state(Update(2, [0], [], [(2, 0, Direction.UNIDIRECTIONAL)]))
    check_v1(processor, [d, c])
    processor.update_state(None)
    check_v1(processor, [d, c])


def test_a_move_of_an_uncorrected_request_takes_the_target_away(folder):
    processor = v1(folder)
    on, off = Ask({}), Ask({"tsdi": False})
    processor.update_state(Update(2, added=[(0, params(), [1], on.output), (1, params(tsdi=False), [1], off.output)]))
    processor.update_state(Update(1, moved=[(1, 0, Direction.UNIDIRECTIONAL)]))
    check_v1(processor, [off])
    processor = v1(folder)
    processor.update_state(Update(2, added=[(0, params(), [1], on.output), (1, params(tsdi=False), [1], off.output)]))
    processor.update_state(Update(2, moved=[(1, 0, Direction.SWAP)]))
    check_v1(processor, [off, on])


def test_an_added_request_that_is_off_clears_the_row(folder):
    processor = v1(folder)
    on, off = Ask({}), Ask({"tsdi": False})
    processor.update_state(Update(1, added=[(0, params(), [1], on.output)]))
    processor.update_state(Update(1, added=[(0, params(tsdi=False), [1], off.output)]))
    check_v1(processor, [off])


def test_chunked_prefill_calls_do_not_advance_the_position(folder):
    processor = v1(folder)
    ask = Ask({})
    processor.update_state(Update(1, added=[(0, params(), [1], ask.output)]))
    for _ in range(2 * LENGTH):  # no token is drawn: the position stays 1
        check_v1(processor, [ask])
    ask.output.append(3)
    check_v1(processor, [ask])


def test_preemption_and_recomputation_go_on_where_the_request_was(folder):
    processor = v1(folder)
    first, other = Ask({}), Ask({})
    processor.update_state(Update(2, added=[(n, params(), [1], ask.output) for n, ask in enumerate((first, other))]))
    for _ in range(2):
        check_v1(processor, [first, other])
        first.output.append(1)
        other.output.append(1)
    processor.update_state(Update(1, [0], [], [(1, 0, Direction.UNIDIRECTIONAL)]))
    for _ in range(4):
        check_v1(processor, [other])
        other.output.append(2)
    first.output = list(first.output)  # a resumed request may come with a new list of the same tokens
    processor.update_state(Update(2, added=[(1, params(), [1], first.output)]))
    assert len(first.output) == 2
    check_v1(processor, [other, first])


@pytest.mark.parametrize(("prefill", "corrected"), [(0, LENGTH), (3, LENGTH - 3), (LENGTH, 0), (LENGTH + 5, 0)])
def test_a_prefill_shortens_the_correction(folder, prefill, corrected):
    for version in (1, 2):
        changed = 0
        for drawn in range(2 * LENGTH):
            logits = torch.zeros(1, WIDTH)
            if version == 1:
                processor = v1(folder)
                processor.update_state(Update(1, added=[(0, params(tsdi_prefill=prefill), [1], [9] * drawn)]))
                got = processor.apply(logits.clone())
            else:
                processor, states = v2(folder)
                states.prompt_len.np[0] = 6
                processor.add_request(0, params(tsdi_prefill=prefill))
                got = processor.apply(logits.clone(), context([(0, 6 + drawn)]))
            changed += not torch.equal(got, logits)
        assert changed == corrected


def random_extra(draw):
    extra = {}
    if draw.random() < 0.25:
        extra["tsdi"] = draw.choice([False, True])
    if draw.random() < 0.5:
        extra["tsdi_alpha"] = draw.choice([0.0, 0.25, 0.5, 1.5])
    if draw.random() < 0.3:
        extra["tsdi_prefill"] = draw.choice([1, 2, 7])
    return extra


class FakeBatch:
    """vLLM's persistent batch: freed rows are filled first, the rest is condensed, then rows are swapped."""

    def __init__(self, processor, seed):
        self.processor, self.draw = processor, random.Random(seed)
        self.rows, self.waiting = [], []

    def step(self):
        draw, rows = self.draw, self.rows
        removed, added, moved = [], [], []
        for index, ask in enumerate(rows):
            if draw.random() < 0.12 or len(ask.output) > 2 * LENGTH:
                removed.append(index)
                if draw.random() < 0.5:
                    self.waiting.append(ask)  # preempted: it comes back with its tokens
        free = sorted(removed)
        for index in removed:
            rows[index] = None
        for _ in range(draw.choice([0, 0, 1, 2, 3])):
            ask = self.waiting.pop() if self.waiting and draw.random() < 0.7 else Ask(random_extra(draw))
            index = free.pop(0) if free else len(rows)
            rows[index : index + 1] = [ask]
            added.append((index, params(**ask.extra), [1], ask.output))
        while free:
            gap = free.pop(0)
            while rows and rows[-1] is None:
                rows.pop()
            if gap < len(rows):
                moved.append((len(rows) - 1, gap, Direction.UNIDIRECTIONAL))
                rows[gap] = rows.pop()
        removed = [index for index in removed if index not in {place for place, *_ in added}]
        if len(rows) > 1 and draw.random() < 0.4:
            one, other = draw.sample(range(len(rows)), 2)
            rows[one], rows[other] = rows[other], rows[one]
            moved.append((one, other, Direction.SWAP))
        changes = removed or added or moved
        self.processor.update_state(Update(len(rows), sorted(removed, reverse=True), added, moved) if changes else None)
        check_v1(self.processor, rows)
        for ask in rows:
            if draw.random() < 0.8:  # else its prompt is still being read
                ask.output.append(draw.randrange(VOCABULARY))


@pytest.mark.parametrize("seed", [0, 1])
def test_two_hundred_random_steps_against_the_oracle(folder, seed):
    torch.manual_seed(seed)
    batch = FakeBatch(v1(folder), seed)
    most, corrected = 0, 0
    for _ in range(200):
        batch.step()
        most = max(most, len(batch.rows))
        corrected += sum(bool(len(ask.output) < LENGTH) for ask in batch.rows)
    assert most >= 6
    assert corrected > 200


def test_two_processors_share_no_state(folder, tmp_path):
    one, other = v1(folder), v1(folder)
    ask = Ask({})
    one.update_state(Update(1, added=[(0, params(), [1], ask.output)]))
    logits = torch.randn(1, WIDTH)
    assert torch.equal(other.apply(logits.clone()), logits)
    assert not torch.equal(one.apply(logits.clone()), logits)
    assert type(one.shell.book.rows) is dict
    assert one.shell.book.rows is not other.shell.book.rows
    assert one.shell.book.kernels is not other.shell.book.kernels


def test_a_row_beyond_the_logits_is_an_error_and_not_a_wrong_row(folder):
    processor = v1(folder)
    processor.update_state(Update(3, added=[(2, params(), [1], [])]))
    with pytest.raises(EngineError, match=r"logits of 2 requests, but row 2 is in use"):
        processor.apply(torch.zeros(2, WIDTH))


def test_older_updates_without_prompt_tokens_are_read_too(folder):
    processor = v1(folder)
    ask = Ask({}, output=[1, 2])
    processor.update_state(Update(1, added=[(0, params(), ask.output)]))
    check_v1(processor, [ask])


# ---------------------------------------------------------------------------------------------------- Model Runner V2


@dataclass(frozen=True)
class Context:
    expanded_idx_mapping: torch.Tensor
    idx_mapping: torch.Tensor
    idx_mapping_np: np.ndarray
    expanded_local_pos: torch.Tensor
    input_ids: torch.Tensor
    pos: torch.Tensor
    seq_lens_upper_bound_np: np.ndarray


def context(requests, drafts=None, slack=0):
    """``requests`` are (slot, sequence length without drafts); ``drafts`` the draft tokens of each."""
    drafts = drafts or [0] * len(requests)
    slots = np.array([slot for slot, _ in requests], dtype=np.int32)
    expanded = [
        (slot, length - 1 + k, k) for (slot, length), n in zip(requests, drafts, strict=True) for k in range(n + 1)
    ]
    columns = [torch.tensor(column, dtype=torch.int32) for column in zip(*expanded, strict=True)]
    return Context(
        columns[0], torch.from_numpy(slots), slots, columns[2], torch.zeros_like(columns[0]), columns[1],
        np.array([length + n + slack for (_, length), n in zip(requests, drafts, strict=True)], dtype=np.int64),
    )  # fmt: skip


class Buffer:
    """A host array and its device twin."""

    def __init__(self, size):
        self.np = np.zeros(size, dtype=np.int32)

    @property
    def gpu(self):
        return torch.from_numpy(self.np)


def v2(folder, slots=8, speculative=None, **tsdi):
    states = SimpleNamespace(max_num_reqs=slots, vocab_size=WIDTH, device=torch.device("cpu"), prompt_len=Buffer(slots))
    return bind({})(config(folder, speculative, **tsdi), states), states


@pytest.mark.parametrize("speculative", [None, SimpleNamespace(num_speculative_tokens=3)])
def test_slots_rows_and_drafts_against_the_oracle(folder, speculative):
    torch.manual_seed(3)
    draw = random.Random(5)
    processor, states = v2(folder, speculative=speculative)
    held, waiting = {}, []
    for _ in range(200):
        for slot in list(held):
            if draw.random() < 0.15 or len(held[slot].output) > 2 * LENGTH:
                ask = held.pop(slot)  # a freed slot is told to nobody
                if draw.random() < 0.5:
                    waiting.append(ask)
        for slot in [slot for slot in range(8) if slot not in held]:
            if draw.random() < 0.4:
                ask = waiting.pop() if waiting else Ask(random_extra(draw), prompt=draw.randrange(2, 9))
                held[slot] = ask
                states.prompt_len.np[slot] = ask.prompt
                told = processor.add_request(slot, params(**ask.extra))
                wanted = ask.extra.get("tsdi", True) and ask.extra.get("tsdi_alpha", 1) != 0
                assert told == (wanted and ask.extra.get("tsdi_prefill", 0) < LENGTH)
        processor.apply_staged_writes()
        order = draw.sample(sorted(held), len(held))
        if not order:
            continue
        drafts = [draw.randrange(4) if speculative else 0 for _ in order]
        places = [(slot, held[slot].prompt + len(held[slot].output)) for slot in order]
        ctx = context(places, drafts, slack=2 if speculative else 0)
        logits = torch.randn(len(ctx.pos), WIDTH)
        got = processor.apply(logits.clone(), ctx)
        row = 0
        for slot, count in zip(order, drafts, strict=True):
            for ahead in range(count + 1):
                assert torch.equal(got[row], held[slot].expected(logits[row], ahead))
                row += 1
        for slot, count in zip(order, drafts, strict=True):
            for _ in range(draw.randrange(count + 1) + 1):
                held[slot].output.append(1)


@pytest.mark.parametrize("speculative", [None, object()])
def test_rows_of_a_prompt_that_is_still_being_read_are_left_alone(folder, speculative):
    processor, states = v2(folder, speculative=speculative)
    states.prompt_len.np[:2] = 10
    for slot in (0, 1):
        processor.add_request(slot, params(tsdi_prefill=3))
    logits = torch.randn(2, WIDTH)
    got = processor.apply(logits.clone(), context([(0, 4), (1, 10)]))
    assert torch.equal(got[0], logits[0])
    assert not torch.equal(got[1], logits[1])


def test_a_reused_slot_forgets_its_last_request(folder):
    processor, states = v2(folder)
    states.prompt_len.np[0] = 4
    assert processor.add_request(0, params())
    assert not processor.add_request(0, params(tsdi=False))
    logits = torch.randn(1, WIDTH)
    assert torch.equal(processor.apply(logits.clone(), context([(0, 4)])), logits)


def test_a_step_past_the_first_positions_returns_the_logits_untouched(folder):
    processor, states = v2(folder)
    states.prompt_len.np[0] = 4
    processor.add_request(0, params())
    logits = torch.randn(1, WIDTH)
    before = logits.clone()
    assert processor.apply(logits, context([(0, 4 + LENGTH)])) is logits
    assert torch.equal(logits, before)


# --------------------------------------------------------------------------------------------- parity of all bridges


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.3])
def test_the_processor_both_shells_and_the_kernel_agree_to_the_bit(folder, alpha):
    from evenhand.bridges.transformers_processor import TsdiProcessor

    torch.manual_seed(0)
    bias, prompt = token_bias(), 6
    kernel = BiasKernel(bias, alpha=alpha)
    hub = TsdiProcessor(kernel, start=prompt)
    first = v1(folder, alpha=alpha)
    second, states = v2(folder, alpha=alpha)
    drafting, drafted = v2(folder, speculative=object(), alpha=alpha)
    outputs = [[], []]
    first.update_state(Update(2, added=[(row, params(), [1] * prompt, outputs[row]) for row in (0, 1)]))
    for slot in (0, 1):
        states.prompt_len.np[slot] = drafted.prompt_len.np[slot] = prompt
        second.add_request(slot, params())
        drafting.add_request(slot, params())
    for drawn in range(LENGTH + 2):
        logits = torch.randn(2, WIDTH) * 20
        logits[0, 3] = -torch.inf
        ids = torch.ones(2, prompt + drawn, dtype=torch.long)
        ctx = context([(0, prompt + drawn), (1, prompt + drawn)])
        found = {
            "numpy": torch.from_numpy(np.asarray(kernel.apply(logits.numpy(), drawn + 1))),
            "kernel": kernel.apply(logits.clone(), drawn + 1),
            "transformers": hub(ids, logits.clone()),
            "V1": first.apply(logits.clone()),
            "V2": second.apply(logits.clone(), ctx),
            "V2 with drafts": drafting.apply(logits.clone(), ctx),
        }
        for name, got in found.items():
            assert got.dtype == torch.float32
            assert got.numpy().tobytes() == found["numpy"].numpy().tobytes(), (name, drawn)
        assert torch.equal(found["V1"], logits) == (drawn >= LENGTH)
        for output in outputs:
            output.append(1)


# --------------------------------------------------------------------------------------------- settings and refusals


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"tsdi": "maybe"}, "tsdi must be true or false, not 'maybe'"),
        ({"tsdi": 2}, "tsdi must be true or false"),
        ({"tsdi": [True]}, "tsdi must be true or false"),
        ({"tsdi_alpha": "strong"}, "tsdi_alpha must be a finite number, not 'strong'"),
        ({"tsdi_alpha": float("nan")}, "tsdi_alpha must be a finite number"),
        ({"tsdi_alpha": 10**400}, "tsdi_alpha must be a finite number"),
        ({"tsdi_alpha": True}, "tsdi_alpha must be a number, not a bool"),
        ({"tsdi_alpha": -0.5}, "may not make the model refuse more"),
        ({"tsdi_alpha": 3}, "hundredths from 0 to 2"),
        ({"tsdi_alpha": 0.123456}, "hundredths from 0 to 2"),
        ({"tsdi_prefill": -1}, "tsdi_prefill must be a whole number"),
        ({"tsdi_prefill": 1.5}, "tsdi_prefill must be a whole number"),
        ({"tsdi_prefill": 2**70}, "tsdi_prefill must be a whole number"),
        ({"tsdi_alhpa": 0.5}, "no argument 'tsdi_alhpa'"),
        ([1], "not a table of names and values"),
    ],
)
def test_bad_arguments_are_refused_at_the_door_and_never_stop_the_engine(folder, extra, message, caplog):
    request = SimpleNamespace(extra_args=extra)
    with pytest.raises(ValueError, match=message):
        bind({}).validate_params(request)
    processor = v1(folder)
    with caplog.at_level(logging.ERROR):
        processor.update_state(Update(1, added=[(0, request, [1], [])]))
    assert "without the TSDI correction" in caplog.text
    logits = torch.randn(1, WIDTH)
    assert torch.equal(processor.apply(logits.clone()), logits)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (None, RequestSettings(True, 0.7, 0)),
        ({"other": 1}, RequestSettings(True, 0.7, 0)),
        ({"tsdi": "false"}, RequestSettings(False, 0.7, 0)),
        ({"tsdi": 1, "tsdi_alpha": "0.25", "tsdi_prefill": 2.0}, RequestSettings(True, 0.25, 2)),
        ({"tsdi_alpha": 0}, RequestSettings(True, 0.0, 0)),
    ],
)
def test_arguments_as_they_come_over_http(extra, expected):
    assert RequestSettings.read(extra, on=True, alpha=0.7) == expected
    bind({}).validate_params(SimpleNamespace(extra_args=extra))


def test_the_server_decides_what_a_request_does_not_say(folder):
    processor = v1(folder, on=False, alpha=0.5, length=2)
    asks = [Ask({"tsdi": False}), Ask({"tsdi_alpha": 0.5})]
    processor.update_state(
        Update(2, added=[(0, params(), [1], asks[0].output), (1, params(tsdi=True), [1], asks[1].output)])
    )
    check_v1(processor, asks)
    logits = torch.randn(2, WIDTH)
    asks[1].output.extend([1, 1])  # length=2: nothing from the third position on
    assert torch.equal(processor.apply(logits.clone()), logits)


def test_the_artefact_is_named_by_the_config_or_the_environment(folder, monkeypatch, tmp_path):
    bare = SimpleNamespace(additional_config={}, speculative_config=None)
    with pytest.raises(BadInput, match=r"nothing names the artefact.*EVENHAND_TSDI=DIR"):
        ServerSettings.of(bare)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="no such folder"):
        bind({})(bare, torch.device("cpu"), False)
    assert ServerSettings.of(config(folder)).folder == folder  # the config goes before the environment
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    assert ServerSettings.of(SimpleNamespace()).folder == folder
    with pytest.raises(BadInput, match=r"additional_config\['tsdi'\] cannot be read: strength"):
        ServerSettings.of(config(folder, strength=1))
    with pytest.raises(BadInput, match=r"additional_config\['tsdi'\] cannot be read"):
        ServerSettings.of(SimpleNamespace(additional_config={"tsdi": 7}))


def test_what_cannot_work_is_refused_at_the_start(folder, tmp_path):
    with pytest.raises(EngineError, match="does not apply custom logits processors with speculative decoding"):
        bind({})(config(folder, speculative=object()), torch.device("cpu"), False)
    with pytest.raises(BadInput, match="alpha = -1 is negative"):
        v1(folder, alpha=-1.0)
    assert v1(folder, alpha=-1.0, allow_negative=True)
    with pytest.raises(BadInput, match=r"length=9 is not possible.*5 positions"):
        v1(folder, length=9)
    write_token_bias(tmp_path / "wide", token_bias(vocabulary=WIDTH + 6))
    with pytest.raises(BadInput, match="have 44 columns, the bias has 50"):
        v1(tmp_path / "wide")
    with pytest.raises(EngineError, match="without max_num_reqs, prompt_len"):
        bind({})(config(folder), SimpleNamespace(device="cpu"))


def test_a_call_in_the_other_runners_manner_is_refused(folder):
    processor, _ = v2(folder)
    with pytest.raises(EngineError, match="made by vLLM's V2 runner"):
        processor.apply(torch.zeros(1, WIDTH))
    with pytest.raises(EngineError, match="made by vLLM's V2 runner"):
        processor.update_state(None)
    with pytest.raises(EngineError, match="made by vLLM's V1 runner"):
        v1(folder).add_request(0, params())


class OldBase(ABC):
    """The V1 interface."""

    @classmethod
    def validate_params(cls, sampling_params):
        return None

    @abstractmethod
    def __init__(self, vllm_config, device, is_pin_memory): ...

    @abstractmethod
    def apply(self, logits): ...

    @abstractmethod
    def is_argmax_invariant(self): ...

    @abstractmethod
    def update_state(self, batch_update): ...


class NewBase(ABC):
    """The V2 interface."""

    def __init__(self, vllm_config, req_states):
        raise AssertionError("the processor does not need it")

    @classmethod
    def validate_params(cls, sampling_params):
        raise AssertionError("the processor has its own")

    def add_request(self, req_idx, sampling_params):
        return True

    @abstractmethod
    def apply(self, logits, ctx): ...


class DraftBase(ABC):
    """An earlier draft of the V2 interface: no positions."""

    def add_request(self, req_idx, sampling_params):
        return True

    @abstractmethod
    def apply(self, logits, expanded_idx_mapping, idx_mapping_np): ...


class StrangeBase(OldBase):
    """An interface with something new in it."""

    @abstractmethod
    def snapshot(self): ...


def test_it_is_bound_to_the_base_classes_that_fit(folder, caplog):
    both = bind({"V1": OldBase, "V2": NewBase})
    assert issubclass(both, OldBase)
    assert issubclass(both, NewBase)
    assert both(config(folder), torch.device("cpu"), False).is_argmax_invariant() is False
    assert both.validate_params(params()) is None
    with caplog.at_level(logging.WARNING):
        one = bind({"V1": OldBase, "V2": DraftBase})
    assert issubclass(one, OldBase)
    assert not issubclass(one, DraftBase)
    assert "expanded_idx_mapping, idx_mapping_np" in caplog.text
    with pytest.raises(EngineError, match=r"V1: it also wants snapshot; V2: apply\(self, logits, expanded_idx_mapping"):
        bind({"V1": StrangeBase, "V2": DraftBase})
    with pytest.raises(EngineError, match="no method apply"):
        bind({"V1": type("Empty", (), {})})


def test_the_installed_vllm_is_looked_up_by_module(folder, monkeypatch):
    for name in (
        "vllm",
        "vllm.v1",
        "vllm.v1.sample",
        "vllm.v1.worker",
        "vllm.v1.worker.gpu",
        "vllm.v1.worker.gpu.sample",
    ):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm.v1.sample.logits_processor", SimpleNamespace(LogitsProcessor=OldBase))
    new = "vllm.v1.worker.gpu.sample.logits_processor"
    monkeypatch.setitem(sys.modules, new, SimpleNamespace(LogitsProcessor=NewBase))
    assert vllm_tsdi.installed_bases() == {"V1": OldBase, "V2": NewBase}
    monkeypatch.setitem(sys.modules, new, None)  # a vLLM without the V2 runner
    assert vllm_tsdi.installed_bases() == {"V1": OldBase}
