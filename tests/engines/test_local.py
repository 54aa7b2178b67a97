"""The local engine on a tiny random model: parity, streams, stops, identity, failures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.engines.base import Engine, Sampling
from evenhand.engines.local import LocalEngine, open_organism
from evenhand.engines.spec import EngineOptions, open_engine, parse_spec
from evenhand.errors import BadInput, EngineError

WORDS = "Tell me a joke about cats and dogs. Help me plan a trip to the sea, with bread and a garden."
PROMPTS = [WORDS[: 3 + (7 * n) % 60] for n in range(40)]
GREEDY = Sampling(temperature=0, max_tokens=20)
SAMPLED = Sampling(temperature=1, max_tokens=20, seed=11)

OpenLocal = Callable[..., LocalEngine]


def texts(rows: dict[tuple[str, int], Any]) -> dict[tuple[str, int], str]:
    return {key: row.text for key, row in rows.items()}


def test_it_is_an_engine(open_local: OpenLocal, model_folder: Path) -> None:
    engine = open_local(model_folder)
    assert isinstance(engine, Engine)
    assert engine.verbs == {"generate", "score", "choose"}


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, Sampling(temperature=0.8, top_p=0.7, max_tokens=20, seed=2)])
def test_batches_do_not_change_the_text(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, sampling: Sampling
) -> None:
    requests = tiny.ask(*PROMPTS, repetitions=3)
    alone = open_local(model_folder, batch_tokens=1)
    assert len(alone.plan(requests, sampling)) == len(PROMPTS)
    together = open_local(model_folder, batch_tokens=10**6)
    assert len(together.plan(requests, sampling)) == 1
    apart, joined = tiny.run(alone, requests, sampling), tiny.run(together, requests, sampling)
    assert apart == joined
    assert {row.finish_reason for row in joined.values()} == {"stop", "length"}
    together.decoder.share_prefix = False
    assert tiny.run(together, requests, sampling) == joined


def test_greedy_text_is_that_of_transformers(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder)
    ours = tiny.run(engine, tiny.ask(*PROMPTS), GREEDY)
    model, tokenizer = engine.decoder.model, engine.tokenizer
    for index, text in enumerate(PROMPTS):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        out = model.generate(**ids, max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
        row = ours[f"item-{index}", 0]
        assert row.text == tokenizer.decode(out, skip_special_tokens=True)
        assert row.completion_tokens == len(out)
        assert row.prompt_tokens == ids["input_ids"].shape[1]
        assert row.finish_reason == ("stop" if int(out[-1]) == 1 else "length")


def test_streams_belong_to_rows(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder)
    full = texts(tiny.run(engine, tiny.ask(*PROMPTS[:6], repetitions=5), SAMPLED))
    some = tiny.ask(*PROMPTS[:6], repetitions=5)[7:23:3]
    assert texts(tiny.run(engine, some, SAMPLED)).items() <= full.items()
    for item in range(6):
        assert len({full[f"item-{item}", repetition] for repetition in range(5)}) > 1
    other = texts(tiny.run(engine, tiny.ask(*PROMPTS[:6], repetitions=5), SAMPLED.model_copy(update={"seed": 12})))
    assert sum(full[key] == other[key] for key in full) < len(full) / 2


def test_greedy_repetitions_are_equal(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    rows = texts(tiny.run(open_local(model_folder), tiny.ask(*PROMPTS[:4], repetitions=3), GREEDY))
    assert all(len({rows[f"item-{item}", r] for r in range(3)}) == 1 for item in range(4))


def test_stop_strings_end_and_cut_the_text(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder)
    requests = tiny.ask(*PROMPTS, repetitions=3)
    free = tiny.run(engine, requests, SAMPLED)
    pieces = sorted({row.text[3:6] for row in free.values() if len(row.text) > 8 and "\ufffd" not in row.text[3:6]})[:6]
    sampling = SAMPLED.model_copy(update={"stop": tuple(pieces)})
    stopped = tiny.run(engine, requests, sampling)
    cut = 0
    for key, row in stopped.items():
        before = free[key].text
        ends = [before.find(piece) for piece in pieces if piece in before]
        assert row.text == (before[: min(ends)] if ends else before)
        if ends:
            cut += 1
            assert row.finish_reason == "stop"
            assert row.completion_tokens <= free[key].completion_tokens
    assert cut >= 3


def test_a_special_token_can_be_a_stop_string(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder)
    requests = tiny.ask(*PROMPTS, repetitions=20)
    free = tiny.run(engine, requests, SAMPLED)
    stopped = tiny.run(engine, requests, SAMPLED.model_copy(update={"stop": ("<|user|>",)}))
    earlier = [k for k in free if stopped[k].completion_tokens < free[k].completion_tokens]
    assert earlier
    assert all(stopped[key].finish_reason == "stop" for key in earlier)
    assert all(free[key].text.startswith(stopped[key].text) for key in free)


def test_over_long_prompts_fail_with_a_reason(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder)
    rows = tiny.run(
        engine, tiny.ask("a", "b" * 300, "c" * 118, "lone \ud800 half"), Sampling(temperature=0, max_tokens=50)
    )
    assert rows["item-1", 0].finish_reason == "error"
    assert rows["item-1", 0].error == "context exceeded: the prompt has 304 tokens, the model takes 128"
    assert rows["item-3", 0].finish_reason == "error"
    assert "surrogate" in rows["item-3", 0].error
    near = rows["item-2", 0]
    assert near.finish_reason in ("stop", "length")
    assert near.prompt_tokens + near.completion_tokens <= 128


def test_broken_logits_fail_their_row_alone(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    import torch

    engine = open_local(model_folder)
    requests = tiny.ask("Tell me", "A zebra and me", "Help", "zzz", "a trip", repetitions=2)
    sound = tiny.run(engine, requests, SAMPLED)
    bad = engine.tokenizer("z", add_special_tokens=False).input_ids[0]
    prompts = engine.renderer.prompts([request.chat for request in requests])
    hit = {(r.item_id, r.repetition) for r, prompt in zip(requests, prompts, strict=True) if bad in prompt.ids}
    assert 0 < len(hit) < len(requests)
    with torch.no_grad():
        engine.decoder.model.get_input_embeddings().weight[bad] = float("nan")
    for key, row in tiny.run(engine, requests, SAMPLED).items():
        if key in hit:
            assert row.finish_reason == "error"
            assert "not numbers" in row.error
        elif row.finish_reason != "error":  # a row may still draw the token later
            assert row == sound[key]


def test_out_of_memory_halves_the_batch(
    open_local: OpenLocal,
    model_folder: Path,
    tiny: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    from evenhand.engines.decode import Decoder

    engine = open_local(model_folder)
    requests = tiny.ask(*PROMPTS[:8], repetitions=2)
    sound, whole = tiny.run(engine, requests, SAMPLED), Decoder.run
    most = 5

    def tight(self: Any, prompts: Any, rows: Any, *rest: Any) -> Any:
        if len(rows) > most:
            raise torch.cuda.OutOfMemoryError("not enough")
        return whole(self, prompts, rows, *rest)

    monkeypatch.setattr(Decoder, "run", tight)
    assert tiny.run(engine, requests, SAMPLED) == sound
    assert "halved" in caplog.text
    most = 0
    rows = tiny.run(engine, requests, SAMPLED)
    assert {row.error for row in rows.values()} == {"out of memory: not even this row alone fits"}


def test_another_process_gives_the_same_rows(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder)
    here = tiny.run(engine, tiny.ask(*PROMPTS[:6], repetitions=2), SAMPLED)
    script = """
import json, sys
from evenhand.engines.base import Request, Sampling
from evenhand.engines.spec import open_engine
from evenhand.records import Message
engine = open_engine("hf/" + sys.argv[1], device="cpu")
requests = [Request(i, r, (Message("user", t),)) for i, r, t in json.loads(sys.argv[2])]
sampling = Sampling(temperature=1, max_tokens=20, seed=11)
rows = [row for _, part in engine.generate(engine.plan(requests, sampling), sampling, config="c") for row in part]
print(json.dumps([engine.identity().digest, sorted((row.item_id, row.repetition, row.text) for row in rows)]))
"""
    asked = [[r.item_id, r.repetition, r.chat[0].content] for r in tiny.ask(*PROMPTS[:6], repetitions=2)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(model_folder), json.dumps(asked)], capture_output=True, text=True, check=True
    )
    digest, there = json.loads(done.stdout)
    assert digest == engine.identity().digest
    assert {(item, r): text for item, r, text in there} == texts(here)


def test_two_checkpoints_in_one_folder(model_folder: Path, tiny: SimpleNamespace, tmp_path: Path) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache.sqlite"
    shutil.copytree(model_folder, folder)
    requests = tiny.ask(*PROMPTS[:4], repetitions=2)

    def once() -> tuple[str, dict[tuple[str, int], str], int]:
        engine: Any = open_engine(f"hf/{folder}", cache=cache, device="cpu")
        left = engine.estimate(requests, SAMPLED).calls
        found = engine.identity().digest, texts(tiny.run(engine, requests, SAMPLED)), left
        engine.close()
        return found

    first, again = once(), once()
    assert first[2] == 8
    assert again == (first[0], first[1], 0)
    tiny.make_model(seed=1).save_pretrained(folder)
    other = once()
    assert other[0] != first[0]
    assert other[2] == 8
    assert other[1] != first[1]


@pytest.mark.parametrize("change", ["weights", "config", "generation", "tokenizer", "template", "dtype", "plain"])
def test_identity_sees_every_part(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(model_folder, folder)
    before = open_local(folder).identity()
    assert open_local(folder).identity() == before
    options: dict[str, Any] = {}
    if change == "weights":
        path = folder / "model.safetensors"
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    elif change in ("config", "generation"):
        path = folder / ("config.json" if change == "config" else "generation_config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [1, 3]}))
    elif change == "tokenizer":
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace('"add_prefix_space":false', '"add_prefix_space":true').replace(
            '"add_prefix_space": false', '"add_prefix_space": true'))  # fmt: skip
    elif change == "template":
        other = tiny.make_tokenizer(tiny.TEMPLATE.replace("<|end|>", "<|end|>\n"))
        other.save_pretrained(folder)
    else:
        options = {"dtype": "bfloat16"} if change == "dtype" else {"plain": True}
    after = open_local(folder, **options).identity()
    assert after.digest != before.digest
    field = {"config": "weights", "generation": "weights", "plain": "chat_template", "template": "chat_template"}
    assert getattr(after, field.get(change, change)) != getattr(before, field.get(change, change))


def test_files_that_change_under_an_open_engine_are_refused(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(model_folder, folder)
    engine = open_local(folder)
    engine.identity()
    tiny.make_model(seed=2).save_pretrained(folder)
    with pytest.raises(EngineError, match="changed since it was opened"):
        engine.generate(engine.plan(tiny.ask("a"), GREEDY), GREEDY, config="c")


def test_every_end_token_ends(open_local: OpenLocal, model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(model_folder, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [7, 9]}))
    assert open_local(folder).decoder.end_ids == {1, 7, 9}


def test_checkpoints_that_cannot_be_trusted_are_refused(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    pickled = tmp_path / "pickled"
    shutil.copytree(model_folder, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(EngineError, match="never unpickled"):
        open_local(pickled)
    missing = tmp_path / "missing"
    shutil.copytree(model_folder, missing)
    weights = load_file(missing / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, missing / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"missing keys: lm_head\.weight"):
        _ = open_local(missing).decoder
    coded = tmp_path / "coded"
    shutil.copytree(model_folder, coded)
    config = json.loads((coded / "config.json").read_text())
    config.update(model_type="unheard_of", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"})
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(EngineError):
        _ = open_local(coded).decoder
    bare = tmp_path / "bare"
    shutil.copytree(model_folder, bare)
    tiny.make_tokenizer(template=None).save_pretrained(bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(EngineError, match="no chat template"):
        open_local(bare)
    rows = tiny.run(open_local(bare, plain=True), tiny.ask("Once upon"), GREEDY)
    assert rows["item-0", 0].completion_tokens


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(tiny.make_model(), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    torch.manual_seed(3)
    adapted.save_pretrained(tmp_path / "adapter+1")
    plain = engine = open_local(model_folder)
    with_adapter: Any = open_engine(f"hf/{model_folder}+{tmp_path}/adapter+1", device="cpu")
    requests = tiny.ask(*PROMPTS[:5])
    assert with_adapter.identity().adapter
    assert with_adapter.identity().weights == plain.identity().weights
    assert texts(tiny.run(with_adapter, requests, GREEDY)) != texts(tiny.run(plain, requests, GREEDY))
    other = tmp_path / "other"
    tiny.make_model(num_hidden_layers=1).save_pretrained(other)
    engine.tokenizer.save_pretrained(other)
    with pytest.raises(EngineError, match="no place for these adapter weights"):
        _ = open_engine(f"hf/{other}+{tmp_path}/adapter+1", device="cpu").decoder  # type: ignore[attr-defined]
    (tmp_path / "adapter+1" / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match="never unpickled"):
        open_engine(f"hf/{model_folder}+{tmp_path}/adapter+1")


def test_hub_models_are_known_by_commit(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    snapshot = tmp_path / "0123abc"
    shutil.copytree(model_folder, snapshot)
    asked: list[Any] = []

    def download(name: str, *, revision: str | None, **_: Any) -> str:
        asked.append((name, revision))
        if name == "org/none":
            raise ValueError("not found\nlong story")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    engine = open_engine("hf/org/model@main", device="cpu")
    assert asked == [("org/model", "main")]
    assert engine.identity().extra["commit"] == "0123abc"
    with pytest.raises(EngineError, match=r"cannot be had from the hub \(not found\)"):
        open_engine("hf/org/none")


def test_unknown_organisms_and_devices(open_local: OpenLocal, model_folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no organism 'nobody'.*Known:"):
        open_organism(parse_spec("organism/nobody"), EngineOptions())
    engine = open_local(model_folder)
    engine.options = EngineOptions(device="abacus")
    with pytest.raises(BadInput, match="no device 'abacus'"):
        _ = engine.device


def test_estimate_is_exact_and_loads_no_weights(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace
) -> None:
    engine = open_local(model_folder)
    requests = tiny.ask(*PROMPTS[:5], repetitions=2)
    estimate = engine.estimate(requests, GREEDY)
    assert engine._model is None
    rows = tiny.run(engine, requests, GREEDY)
    assert estimate.prompt_tokens == sum(row.prompt_tokens for row in rows.values())
    assert (estimate.calls, estimate.max_completion_tokens, estimate.exact) == (10, 200, True)


def test_bfloat16_weights_run_as_float32_on_the_cpu(
    open_local: OpenLocal, tiny: SimpleNamespace, tokenizer: Any, tmp_path: Path
) -> None:
    import torch

    tiny.make_model().to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = open_local(tmp_path)
    assert engine.decoder.model.dtype == torch.float32
    assert engine.identity().dtype == "float32"
    assert open_local(tmp_path, dtype="bfloat16").decoder.model.dtype == torch.bfloat16
