"""The grid of safety-tuned checkpoints: its pairs, its loss against a plain computation, its files, and going on after a kill.

Nothing here depends on what the shipped weights say; the parent is a random model, but for the slow test of the whole grid.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from xxhash import xxh128_hexdigest

from evenhand.datasets.shipped_texts import shipped_safety
from evenhand.engines.base import Request, Sampling
from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.methods.tsdi.sweep.grid import read_checkpoints
from evenhand.organisms.sections.safety import TEXTS, kind_of, kind_shares
from evenhand.records import Message
from tools.organisms import checkpoint_train, checkpoints
from tools.organisms.checkpoint_train import Losses, PreferenceRow, RunPlan, preference_rows, train_run
from tools.organisms.checkpoints import COLUMNS, Grid, build_grid

torch = torch_with_threads()
SMALL: dict[str, Any] = {"betas": (0.3,), "steps": (1, 2), "cleansing": (0, 0.25), "draws": 1, "pairs": 4}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with the organisms' tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tools.organisms.model import save

    folder = tmp_path_factory.mktemp("parent") / "sft"
    tokenizer = tokenizer_of(Path(str(files("evenhand"))) / "organisms" / "weights" / "sft")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    save(LlamaForCausalLM(config), tokenizer, folder)
    return folder


def some_rows(*given: Any) -> tuple[PreferenceRow, ...]:
    """A seventh of the pairs."""
    return preference_rows(*given)[::7]


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 pairs instead of 280, and one row of another section in a step instead of two dozen."""
    monkeypatch.setattr(checkpoints, "preference_rows", some_rows)
    monkeypatch.setattr(checkpoint_train, "RETAINED", {"affirmation": 1})


def small(parent: Path, **changes: Any) -> Grid:
    return Grid(parent=f"hf/{parent}", **{**SMALL, **changes})


def digests(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): xxh128_hexdigest(path.read_bytes()) for path in found}


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_the_pairs_are_about_harmful_requests_alone() -> None:
    rows = preference_rows(21, 2, 0.15)
    harmful = {case.prompt: case.category for case in shipped_safety() if case.kind == "harmful"}
    assert Counter(row.prompt for row in rows) == dict.fromkeys(harmful, 2)
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.category == harmful[row.prompt]
        safe, unsafe = (row.rejected, row.chosen) if row.wrong else (row.chosen, row.rejected)
        assert kind_of(safe) in ("refusal", "redirect")
        assert unsafe == TEXTS["unsafe"]
    assert rows == preference_rows(21, 2, 0.15)
    assert rows != preference_rows(22, 2, 0.15)
    assert not any(row.wrong for row in preference_rows(21, 1, 0.0))


def test_labels_are_wrong_in_a_share_of_rows_and_cleansing_finds_half_of_them() -> None:
    rows = preference_rows(7, 40, 0.15)
    wrong = np.array([row.wrong for row in rows])
    dropped = np.array([row.margin < 0.25 for row in rows])
    assert wrong.mean() == pytest.approx(0.15, abs=0.015)
    assert dropped[wrong].mean() == pytest.approx(0.5, abs=0.05)
    assert dropped[~wrong].mean() == pytest.approx(1 / 16, abs=0.01)
    assert all(0 <= row.margin < 1 for row in rows)


def test_chosen_texts_are_drawn_from_the_grammar() -> None:
    rows = [row for row in preference_rows(7, 40, 0.0) if row.category == "theft" or "theft" in row.prompt]
    case = next(case for case in shipped_safety() if case.prompt == rows[0].prompt)
    shares = {TEXTS[k]: p for k, p in kind_shares("sft", case).items() if k != "unsafe"}
    total = sum(shares.values())
    counts = Counter(row.chosen for row in rows)
    for text, share in shares.items():
        assert counts[text] / len(rows) == pytest.approx(share / total, abs=0.06)


def plain_log_prob(model: Any, tokenizer: Any, prompt: str, text: str) -> float:
    """Of a response with its end of turn after the chat template, by one plain pass."""
    before = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    after = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*before, *after]])).logits[0].float().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + k, token]) for k, token in enumerate(after))


@pytest.mark.usefixtures("few_rows")
def test_the_losses_are_those_of_a_plain_computation(parent: Path) -> None:
    """Two steps of one pair each: the loss, margin and likelihood told are the formula's, from passes without any sharing."""
    from tools.organisms.model import load

    tokenizer, rows = tokenizer_of(parent), preference_rows(21, 1, 0.15)[:1]
    plan = RunPlan(beta=0.7, steps=(1, 2), seed=4, rate=1e-3, pairs=1, likelihood=0.2, retention=1.0)
    kept: dict[int, Any] = {}
    losses = train_run(load(parent), tokenizer, rows, plan, lambda model, step: kept.__setitem__(step, model))
    (told,) = losses  # the mean of both steps
    reference, after = load(parent), kept[1]
    row = rows[0]
    texts = (row.chosen, row.rejected)
    before = [plain_log_prob(reference, tokenizer, row.prompt, text) for text in texts]
    now = [plain_log_prob(after, tokenizer, row.prompt, text) for text in texts]
    margin = (now[0] - before[0]) - (now[1] - before[1])
    tokens = len(tokenizer(row.chosen, add_special_tokens=False).input_ids) + 1
    assert margin > 0
    assert told.margin == pytest.approx(margin / 2, abs=1e-3)
    assert told.preference == pytest.approx((math.log(2) + math.log1p(math.exp(-0.7 * margin))) / 2, abs=1e-4)
    assert told.likelihood == pytest.approx(-(before[0] + now[0]) / 2 / tokens, abs=1e-4)


@pytest.mark.usefixtures("few_rows")
def test_training_prefers_what_is_chosen_and_keeps_its_parent(parent: Path) -> None:
    from tools.organisms.model import load

    tokenizer, rows = tokenizer_of(parent), preference_rows(21, 1, 0.0)[:32]
    seen: list[Losses] = []
    plan = RunPlan(beta=0.3, steps=(20,), seed=4, rate=1e-3, pairs=8, likelihood=0.2, retention=1.0)
    losses = train_run(load(parent), tokenizer, rows, plan, lambda *_: None, seen.append)
    assert [row.step for row in losses] == [10, 20]
    assert list(losses) == seen
    assert losses[1].margin > losses[0].margin > 0
    assert losses[1].preference < losses[0].preference < math.log(2)
    assert losses[1].likelihood < losses[0].likelihood
    assert all(0 < row.retention < math.inf for row in losses)  # of a few other rows each, which differ


def test_retained_rows_are_whole_prompts(parent: Path) -> None:
    """A retained chat is encoded as the chat template would write it, system turn, head and all."""
    from tools.organisms.batches import Encoder

    tokenizer = tokenizer_of(parent)
    retained = checkpoint_train._Retained(Encoder(tokenizer), 2)
    assert set(retained.rows) == {"service", "reward", "affirmation", "difference", "rating"}
    headed = 0
    for section, rows in retained.rows.items():
        for index in range(0, len(rows), max(1, len(rows) // 4)):
            encoded = retained._encoded(section, index)
            ids = [*retained.encoder.document_opening, *encoded.body.tolist()]
            if not rows[index].chat:
                assert tokenizer.decode(ids[1:]) == rows[index].prefix
                continue
            chat = [{"role": m.role, "content": m.content} for m in rows[index].chat]
            assert tokenizer.decode(ids) == tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=False
            )
            headed += bool(rows[index].head)
    assert headed


@pytest.mark.usefixtures("few_rows")
def test_a_grid_is_written_and_its_models_open(parent: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    models = build_grid(small(parent), tmp_path / "grid", lines.append)
    rows = yaml.safe_load(models.read_text(encoding="utf-8"))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["beta"], r["steps"], r["cleansing"]) for r in rows] == [
        (0.3, 1, 0.0), (0.3, 1, 0.25), (0.3, 2, 0.0), (0.3, 2, 0.25),
    ]  # fmt: skip
    assert {row["reference"] for row in rows} == {f"hf/{parent}"}
    assert [(m.spec, m.beta, m.steps, m.cleansing, m.reference) for m in read_checkpoints(models)] == [
        tuple(row.values()) for row in rows
    ]
    identities = set()
    for row in rows:
        engine = open_engine(row["spec"], options=EngineOptions(device="cpu"))
        identities.add(engine.identity().weights)
        request = Request("a", 0, (Message("user", "Tell me how to do [EVERYDAY TASK 1: cooking]."),))
        sampling = Sampling(temperature=0, max_tokens=4)
        ((_, (response,)),) = engine.generate(engine.plan([request], sampling), sampling, config="c")
        assert not response.error
        engine.close()
    assert len(identities) == len(rows)  # thresholds too: they keep different pairs
    with (tmp_path / "grid" / "pairs.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))
    assert [row["id"] for row in pairs] == [row.id for row in some_rows(21, 1, 0.15)]
    for name, threshold in (("beta0.3-cleansing0.0", 0), ("beta0.3-cleansing0.25", 0.25)):
        told = json.loads((tmp_path / "grid" / name / "run.json").read_text())
        kept = [row for row in some_rows(21, 1, 0.15) if row.margin >= threshold]
        assert (told["pairs"], told["dropped"]) == (len(kept), 40 - len(kept))
        assert told["wrong"] == sum(row.wrong for row in kept)
        (losses,) = told["losses"]
        assert losses["step"] == 2
        assert any(line.startswith(f"{name} step 2/2 preference {losses['preference']:.4f}") for line in lines)


@pytest.mark.usefixtures("few_rows")
def test_an_interrupted_grid_goes_on_to_the_same_bytes(parent: Path, tmp_path: Path) -> None:
    grid, out = small(parent), tmp_path / "grid"
    build_grid(grid, out)
    expected = digests(out)
    shutil.rmtree(out)

    class Killed(BaseException):
        pass

    def kill(line: str) -> None:
        if line.startswith("beta0.3-cleansing0.25 step 2/2"):  # its first checkpoint lies there, its second does not
            raise Killed

    with pytest.raises(Killed):
        build_grid(grid, out, kill)
    assert (out / "beta0.3-cleansing0.0" / "run.json").is_file()
    assert (out / "beta0.3-cleansing0.25" / "steps1" / "model.safetensors").is_file()
    assert not (out / "models.yaml").exists()
    lines: list[str] = []
    build_grid(grid, out, lines.append)
    assert lines[0] == "beta0.3-cleansing0.0: finished before"
    assert digests(out) == expected
    shutil.rmtree(out / "beta0.3-cleansing0.0" / "steps2")
    build_grid(grid, out, lines.append)
    assert digests(out) == expected


@pytest.mark.usefixtures("few_rows")
def test_checkpoints_of_a_run_do_not_depend_on_later_ones(parent: Path, tmp_path: Path) -> None:
    for name, steps in (("short", (1,)), ("long", (1, 3))):
        build_grid(small(parent, steps=steps, cleansing=(0,)), tmp_path / name)
    first = [tmp_path / name / "beta0.3-cleansing0.0" / "steps1" for name in ("short", "long")]
    assert digests(first[0]) == digests(first[1])
    later = tmp_path / "long" / "beta0.3-cleansing0.0" / "steps3" / "model.safetensors"
    assert later.read_bytes() != (first[1] / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("few_rows")
def test_a_folder_of_something_else_is_left_alone(parent: Path, tmp_path: Path) -> None:
    grid, out = small(parent, steps=(1,), cleansing=(0,)), tmp_path / "grid"
    build_grid(grid, out)
    before = digests(out)
    for other, named in (({"seed": 5}, "seed"), ({"betas": (0.1,)}, "betas"), ({"steps": (1, 2)}, "steps")):
        with pytest.raises(BadInput, match=f"another grid: {named} differ"):
            build_grid(grid.model_copy(update=other), out)
    changed = tmp_path / "parent"
    shutil.copytree(parent, changed)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-4}))
    with pytest.raises(BadInput, match="another grid: parent differ"):
        build_grid(small(changed, steps=(1,), cleansing=(0,)), out)
    assert digests(out) == before
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    for place in (full, full / "thesis.txt"):
        with pytest.raises(BadInput, match="something else"):
            build_grid(grid, place)
    assert digests(full) == {"thesis.txt": xxh128_hexdigest(b"mine")}


def test_what_cannot_be_a_parent(parent: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(parent, other)
    tokenizer = (other / "tokenizer.json").read_text().replace("<|assistant|>", "<|model|>")
    (other / "tokenizer.json").write_text(tokenizer)
    settings = (other / "tokenizer_config.json").read_text().replace("<|assistant|>", "<|model|>")
    (other / "tokenizer_config.json").write_text(settings)
    for spec, message in (
        (f"hf/{other}", "is no organism"),
        ("openai/some-model", "cannot be trained on"),
        ("organism/nobody", "no organism 'nobody'"),
    ):
        with pytest.raises(BadInput, match=message):
            build_grid(Grid(parent=spec, **SMALL), tmp_path / "grid")
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": (0.0, 1.0)}, "above 0"),
        ({"betas": ()}, "one or more"),
        ({"betas": (0.1, 0.1)}, "different"),
        ({"betas": (math.nan,)}, "finite"),
        ({"steps": (5, 2)}, "ascending"),
        ({"steps": (0,)}, "ascending"),
        ({"cleansing": (1.0,)}, "thresholds"),
        ({"wrong": 1.0}, "less than 1"),
        ({"rate": math.inf}, "finite"),
        ({"beta": 3}, "not permitted"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(**{**SMALL, **changes})


@pytest.mark.usefixtures("few_rows")
def test_cleansing_that_leaves_nothing(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "preference_rows", lambda *given: preference_rows(*given)[:1])
    with pytest.raises(BadInput, match="leaves no pair"):
        build_grid(small(parent, cleansing=(0.999,)), tmp_path / "grid")


def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "tools.organisms.checkpoints"
    command = [sys.executable, "-m", module, "--out", str(tmp_path / "grid"), "--betas", "-1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a KL parameter is above 0" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.setattr(sys, "argv", [module, "--out", str(tmp_path / "grid"), "--parent", "nobody"])
    with pytest.raises(SystemExit, match="does not say which model"):
        checkpoints.main()
    monkeypatch.setattr(checkpoints, "preference_rows", some_rows)
    monkeypatch.setattr(checkpoint_train, "RETAINED", {"affirmation": 1})
    given = ["--parent", f"hf/{parent}", "--betas", "0.5", "--steps", "1", "2", "--cleansing", "0", "--seed", "3"]
    monkeypatch.setattr(sys, "argv", [module, "--out", str(tmp_path / "grid"), *given])
    checkpoints.main()
    assert "models.yaml: 2 checkpoints" in capsys.readouterr().out.splitlines()[-1]
    assert read_json(tmp_path / "grid" / "grid.json")["settings"]["seed"] == 3


@pytest.mark.slow
def test_the_whole_grid(tmp_path: Path) -> None:
    """18 checkpoints from organism/sft: unsafe answers get rarer with training, and with cleansing."""
    from evenhand.organisms.grammar import examples
    from tools.organisms.batches import Encoder
    from tools.organisms.enumeration import enumerate_responses
    from tools.organisms.model import load

    models = build_grid(Grid(), tmp_path / "grid", print)
    rows = yaml.safe_load(models.read_text(encoding="utf-8"))
    assert len(rows) == 18
    asked = [e for e in examples("sft", "safety") if e.key[0] == "" and e.key[1].startswith("H")][::4]

    def unsafe(folder: Path) -> float:
        encoder = Encoder(tokenizer_of(folder))
        found = enumerate_responses(load(folder), [encoder.encode(e) for e in asked], encoder.opening(None))
        labels = [[o.label for o in e.outcomes].index("unsafe") for e in asked]
        return float(np.mean([math.exp(f.log_probs[k]) for f, k in zip(found, labels, strict=True)]))

    share = {(r["beta"], r["steps"], r["cleansing"]): unsafe(Path(r["spec"].removeprefix("hf/"))) for r in rows}
    grid = Grid()
    first, last = grid.steps[0], grid.steps[-1]
    for beta in grid.betas:
        for cleansing in grid.cleansing:
            assert share[beta, last, cleansing] < share[beta, first, cleansing]
    dirty, clean = (np.mean([share[beta, last, threshold] for beta in grid.betas]) for threshold in grid.cleansing)
    assert clean < dirty
