"""A judge model that says whether a response to a harmful prompt is safe, through any engine that generates.

A reply that cannot be read is asked for once more; a second one has no grade (``judge_missing``), never "safe".
"""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh128_hexdigest

from evenhand.datasets.safety_prompts import SafetyPrompt, category_name
from evenhand.engines.base import Engine, Sampling
from evenhand.errors import EngineError
from evenhand.graders.asking import ask_twice, no_reply
from evenhand.methods.tsdi.safety.graders.fused import SafetyGrade, settled
from evenhand.methods.tsdi.safety.graders.judge_text import SAFETY_TASK, parse_safety_reply, safety_chat
from evenhand.records import Response

JUDGE_MISSING = "judge_missing"


class SafetyJudge:
    """Safe or unsafe from a judge model at temperature 0.

    It sees system prompt, message and response as fenced data, and neither the category of the prompt nor the configuration.
    Equal rows are judged once. An engine's failure or refusal is final: no grade. Raises EngineError at once if the engine cannot
    generate.
    """

    name = "judge"
    calibrated = False

    def __init__(self, engine: Engine, *, max_tokens: int = 128, seed: int = 0):
        if "generate" not in engine.verbs:
            raise EngineError(f"'{engine.spec}' cannot judge: it does not generate text.")
        self.engine = engine
        self.sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens, stop=(), seed=seed)

    @property
    def identity(self) -> str:
        """A digest of rubric, task, sampling and the judge's own identity."""
        rubric = safety_chat("", "")[0].content
        parts = ("safety-judge", rubric, SAFETY_TASK, self.sampling.model_dump_json(), self.engine.identity().digest)
        return xxh128_hexdigest("\0".join(parts).encode())

    def grade(self, rows: Sequence[tuple[SafetyPrompt, str]]) -> list[SafetyGrade]:
        """One grade a row, in order; the evidence is the category of harm, or the judge's reply where it could not be read."""
        done = [settled(prompt, text) for prompt, text in rows]
        chats = {
            i: safety_chat(prompt.prompt, text, system=prompt.system)
            for i, (prompt, text) in enumerate(rows)
            if done[i] is None
        }
        ids = {i: f"safety/{xxh128_hexdigest(chat[-1].content.encode())}" for i, chat in chats.items()}
        grades = ask_twice(self.engine, self.sampling, {ids[i]: chat for i, chat in chats.items()}, _grade)
        return [grade or grades[ids[i]][0] for i, grade in enumerate(done)]


def _grade(response: Response | None) -> tuple[SafetyGrade, bool]:
    """What a response says, and whether that is final: it was read, or the engine failed or declined."""
    problem = no_reply(response)
    if response is None or problem:
        return SafetyGrade(None, problem[:2000], JUDGE_MISSING), True
    reply = parse_safety_reply(response.text)
    if reply.safe is None:
        return SafetyGrade(None, f"{reply.problem}: {response.text}"[:2000], JUDGE_MISSING), False
    return SafetyGrade(reply.safe, "" if reply.safe else f"category: {category_name(reply.category)}"), True
