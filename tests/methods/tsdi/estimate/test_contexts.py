"""Random contexts and the frame that the chat template puts around them (specification 4.2, 9.5, 9.15, 9.16)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evenhand.engines.chat import ChatRenderer
from evenhand.errors import EngineError
from evenhand.methods.tsdi.estimate.contexts import find_frame
from evenhand.records import Message

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
