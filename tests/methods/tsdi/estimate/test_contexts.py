"""Random contexts: pools of tokens, and the chat template around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.engines.chat import ChatRenderer
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.estimate.contexts import FEWEST, builtin_passages, find_frame, open_pool, pool_files
from evenhand.records import Message

PASSAGES = tuple(builtin_passages())


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> Any:
    return tiny.make_tokenizer()


def opened(asked: str | Path, tokenizer: Any, **columns: str) -> Any:
    return open_pool(str(asked), tokenizer, valid=range(len(tokenizer)), excluded=range(6), columns=columns)


def test_the_builtin_pool_is_3000_words_of_text_on_many_subjects(tokenizer: Any) -> None:
    assert sum(len(passage.split()) for passage in PASSAGES) >= 3_000
    assert len(set(PASSAGES)) == len(PASSAGES) >= 60
    assert sum(passage.endswith("?") for passage in PASSAGES) >= 20
    pool = opened("builtin", tokenizer)
    assert pool.size > 3_000
    assert pool.digest == opened("builtin", tokenizer).digest
    assert pool.ids.min() >= 6
    texts = tokenizer(list(PASSAGES), add_special_tokens=False).input_ids
    assert pool.ids.tolist() == [i for ids in texts for i in ids]  # occurrences, in order: draws follow their frequency


def test_uniform_and_distinct(tokenizer: Any) -> None:
    uniform = opened("uniform", tokenizer)
    assert uniform.ids.tolist() == list(range(6, len(tokenizer)))
    distinct = opened("distinct:builtin", tokenizer)
    assert distinct.ids.tolist() == sorted(set(opened("builtin", tokenizer).ids.tolist()))
    assert distinct.name == "distinct:builtin"


def test_control_tokens_in_a_text_never_enter(tokenizer: Any, tmp_path: Path) -> None:
    """Also where the user's text spells them out (9.15)."""
    path = tmp_path / "traffic.txt"
    path.write_text("<|user|>Tell me a joke<|end|>\n" * 300, encoding="utf-8")
    pool = opened(path, tokenizer)
    assert pool.removed == 600
    assert pool.ids.min() >= 6


def test_a_text_column_of_csv_jsonl_and_parquet(tokenizer: Any, tmp_path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame({"prompt": [f"Tell me about number {n}, please." for n in range(200)], "other": ["x"] * 200})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    digests = {opened(tmp_path / f"a.{kind}", tokenizer).digest for kind in ("csv", "jsonl", "parquet")}
    assert len(digests) == 1
    with pytest.raises(BadInput, match="There is no column 'nowhere' for text"):
        opened(tmp_path / "a.csv", tokenizer, text="nowhere")
    assert opened(tmp_path / "a.csv", tokenizer, text="prompt").digest in digests


def mmlu(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_questions_with_choices_are_text_and_bad_rows_are_named(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"subject": "s", "question": f"What is {n}?", "choices": ["a", "b", "c", f"d{n}"]} for n in range(200)]
    path = mmlu(tmp_path / "q.jsonl", rows)
    pool = opened(path, tokenizer)
    first = tokenizer("What is 0?\na\nb\nc\nd0", add_special_tokens=False).input_ids
    assert pool.ids[: len(first)].tolist() == first
    for bad in ("a, b", ["a"], [1, 2, 3, 4], None):
        rows[2] = {"subject": "s", "question": "What?", "choices": bad}
        with pytest.raises(BadInput, match=r"q\.jsonl, row 3: The choices are not a list of texts"):
            opened(mmlu(path, rows), tokenizer)
    rows[2] = {"subject": "s", "question": " ", "choices": ["a", "b", "c", "d"]}
    with pytest.raises(BadInput, match=r"q\.jsonl, row 3: The row has no text"):
        opened(mmlu(path, rows), tokenizer)
    path.write_text('{"question": "a", "choices": ["a", "b"]}\n{"question": ', encoding="utf-8")
    with pytest.raises(BadInput, match=r"q\.jsonl, row 2: The line is not JSON"):
        opened(path, tokenizer)


@pytest.mark.data
def test_the_mmlu_questions(tokenizer: Any, public_data: Callable[[str], Path]) -> None:
    folder = public_data("pku_saferlhf") / "token_pool"
    files = pool_files(str(folder))
    assert sum(len(path.read_text("utf-8").strip().split("\n")) for path in files) == 1_816
    pool = opened(folder, tokenizer)
    assert pool.size > 100_000
    parts = [opened(path, tokenizer) for path in files]
    assert pool.ids.tolist() == np.concatenate([part.ids for part in parts]).tolist()


def test_a_tiny_pool_is_refused_with_its_count(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("Tell me a joke about cats and dogs.", encoding="utf-8")
    with pytest.raises(BadInput, match=r"few\.txt: The pool holds \d+ token occurrences .* at least 1,000 are needed"):
        opened(path, tokenizer)
    path.write_text("<|end|>" * 2 * FEWEST, encoding="utf-8")
    with pytest.raises(BadInput, match="The pool holds 0 token occurrences"):
        opened(path, tokenizer)


def test_pools_that_are_not_there(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no pool 'mmlu', and no such file\. Known pools: builtin, uniform"):
        opened("mmlu", tokenizer)
    with pytest.raises(BadInput, match="The folder holds no texts"):
        opened(tmp_path, tokenizer)
    with pytest.raises(BadInput, match="holds each id once already"):
        opened("distinct:uniform", tokenizer)
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadInput, match=r"x\.txt: The file is not UTF-8 \(byte 3\)"):
        opened(tmp_path / "x.txt", tokenizer)
    for name in ("builtin", "uniform"):
        with pytest.raises(BadInput, match="no columns to map"):
            opened(name, tokenizer, text="prompt")


THINK = "<think>\n\n</think>\n\n"


def frame_of(
    tiny: Any, template: str | None = None, *, plain: bool = False, adds_bos: bool = False, system: Any = None
) -> Any:
    tokenizer = tiny.make_tokenizer(template or tiny.TEMPLATE, adds_bos=adds_bos)
    renderer = ChatRenderer(tokenizer, name="tiny", plain=plain)
    return find_frame(renderer, system), renderer


def test_a_draw_depends_on_seed_number_and_pool_alone(tiny: Any) -> None:
    short, long = (tiny.make_contexts(length) for length in (3, 9))
    for number in (0, 1, 500):
        a, b = short.draw(number), long.draw(number)
        assert a.prompt.tolist() == b.prompt.tolist()
        assert a.after.tolist() == b.after[:2].tolist()
        assert short.draw(number).prompt.tolist() == a.prompt.tolist()
    assert tiny.make_contexts(3, seed=1).draw(0).prompt.tolist() != short.draw(0).prompt.tolist()
    assert tiny.make_contexts(3, width=299).draw(0).prompt.tolist() != short.draw(0).prompt.tolist()


def test_lengths_are_uniform_and_every_occurrence_is_drawn_alike(tiny: Any) -> None:
    contexts = tiny.make_contexts(5, width=20, lengths=(2, 5))
    draws = [contexts.draw(n) for n in range(2000)]
    lengths = np.bincount([len(draw.prompt) for draw in draws], minlength=6)
    assert lengths[:2].sum() == 0
    assert abs(lengths[2:] - 500).max() < 100
    ids = np.concatenate([np.concatenate([draw.prompt, draw.after]) for draw in draws])
    counts = np.bincount(ids, minlength=20)[10:]
    assert abs(counts / counts.mean() - 1).max() < 0.1


def test_a_context_is_template_prompt_template_and_prefix(tiny: Any) -> None:
    contexts = tiny.make_contexts(4)
    draw = contexts.draw(7)
    ids = contexts.ids(draw).tolist()
    assert ids == [0, 4, *draw.prompt.tolist(), 5, *draw.after.tolist()]
    assert contexts.tokens(20) == sum(len(contexts.ids(contexts.draw(n))) for n in range(20))
    assert max(len(contexts.ids(contexts.draw(n))) for n in range(200)) == contexts.longest


@pytest.mark.parametrize("adds_bos", [False, True])
def test_the_frame_is_what_the_model_is_served_with_and_bos_stands_once(tiny: Any, adds_bos: bool) -> None:
    frame, renderer = frame_of(tiny, adds_bos=adds_bos)
    (prompt,) = renderer.prompts([(Message("user", "Tell me about cats"),)])
    middle = renderer.tokenizer("Tell me about cats", add_special_tokens=False).input_ids
    assert prompt.ids == (*frame.prefix, *middle, *frame.suffix)
    assert frame.prefix.count(0) == 1
    assert frame.prefix[0] == 0
    assert frame.start_tokens == 0


def test_a_template_without_bos_gets_the_one_that_serving_adds(tiny: Any) -> None:
    frame, _ = frame_of(tiny, tiny.TEMPLATE.replace("{{ bos_token }}", ""), adds_bos=True)
    assert frame.prefix[0] == 0
    bare, _ = frame_of(tiny, tiny.TEMPLATE.replace("{{ bos_token }}", ""))
    assert 0 not in bare.prefix


def test_plain_prompts_and_words_around_the_message(tiny: Any) -> None:
    frame, renderer = frame_of(tiny, plain=True)
    assert frame.prefix == ()
    assert renderer.tokenizer.decode(frame.suffix) == "\n\n"
    words = "BEGINNING: USER: {{ messages[-1]['content'] }} ASSISTANT:"
    frame, renderer = frame_of(tiny, words)
    assert renderer.tokenizer.decode(frame.prefix).startswith("BEGINNING: USER:")
    assert renderer.tokenizer.decode(frame.suffix).strip() == "ASSISTANT:"


def test_a_system_prompt_stands_in_every_context(tiny: Any) -> None:
    frame, renderer = frame_of(tiny, system="Be brief.")
    assert "Be brief." in renderer.tokenizer.decode(frame.prefix)


def test_fixed_assistant_text_is_counted(tiny: Any) -> None:
    opening = "{% if add_generation_prompt %}<|assistant|>Well: {% endif %}"
    template = tiny.TEMPLATE.replace("{% if add_generation_prompt %}<|assistant|>{% endif %}", opening)
    frame, renderer = frame_of(tiny, template)
    assert frame.start_tokens == len(renderer.tokenizer("Well: ", add_special_tokens=False).input_ids)
    assert renderer.tokenizer.decode(frame.suffix[-frame.start_tokens :]) == "Well: "


def test_a_closed_reasoning_block_is_part_of_the_frame_and_an_open_one_is_refused(tiny: Any) -> None:
    def template(written: str) -> str:
        return tiny.TEMPLATE.replace("<|assistant|>{% endif %}", "<|assistant|>" + written + "{% endif %}")

    frame, renderer = frame_of(tiny, template("{{ '" + THINK.replace("\n", "\\n") + "' }}"))
    assert renderer.tokenizer.decode(frame.suffix).endswith("</think>\n\n")
    assert frame.start_tokens > 0
    with pytest.raises(EngineError, match="opens a reasoning block, so the answer begins at no fixed position"):
        frame_of(tiny, template("<think>"))


def test_a_template_that_writes_other_tokens_around_other_messages_is_refused(tiny: Any) -> None:
    head = "{% if messages[-1]['content'].startswith('How') %}Question. {% endif %}"
    with pytest.raises(EngineError, match="does not write the same tokens around every message"):
        frame_of(tiny, tiny.TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}" + head))
