"""Scores and choices from an endpoint, against a toy model whose log-probabilities are known exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evenhand.engines.base import Question, Request, Sampling, Span
from evenhand.engines.endpoint import plan_scores
from evenhand.engines.http import HttpEngine, open_http
from evenhand.engines.spec import EngineOptions, parse_spec
from evenhand.engines.wire import read_choice
from evenhand.errors import BadInput, EngineError
from evenhand.records import LogProb, Message

FAST = {"backoff": 0.001, "backoff_cap": 0.01, "timeout": 2.0, "deadline": 20.0}
X, Y = "They said that the people", " are kind, and sing w3 w4."


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENHAND_API_KEY", "sk-test-very-secret-0123456789")


def connect(url: str, **options: Any) -> HttpEngine:
    return open_http(parse_spec(f"{url}#mock"), EngineOptions(**{**FAST, **options}))


def scored(engine: HttpEngine, *spans: Span) -> dict[str, LogProb]:
    found = [(batch, rows) for batch, rows in engine.score(engine.plan_scores(spans))]
    assert all([span.key for span in batch.spans] == [row.span for row in rows] for batch, rows in found)
    rows = {row.span: row for _, part in found for row in part}
    assert rows.keys() == {span.key for span in spans}
    return rows


def exact(toy: Any, context: str, text: str) -> float:
    """The sum over the tokens of text, each given the one before it, straight from the model's table."""
    tokens, before = toy.tokens(context + text), len(toy.tokens(context))
    return math.fsum(toy.log_p(tokens[i - 1] if i else None, tokens[i]) for i in range(before, len(tokens)))


def chat_reply(top: Any, **more: Any) -> dict[str, Any]:
    entry = {"token": "x", "logprob": -1.0, "top_logprobs": top}
    return {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [entry]}, **more}]}


def listed(**tokens: float) -> list[dict[str, Any]]:
    return [{"token": token.replace("_", " "), "logprob": math.log(p)} for token, p in tokens.items()]


def serve(module: Any, toy: Any, chat: Any = None) -> Any:
    """A server of a toy model; ``chat`` answers chats (by default as an endpoint that has none)."""
    missing = (404, {"error": {"message": "not found"}})
    return module.FaultServer(
        answer=lambda body: toy(body) if "prompt" in body else (chat(body) if callable(chat) else chat or missing)
    )


@pytest.mark.parametrize("start", ["none", "shown", "hidden"])
@pytest.mark.parametrize("fewest", [0, 1])
def test_scores_are_the_exact_sums(fault_module: Any, start: str, fewest: int) -> None:
    toy = fault_module.ToyModel(start=start, fewest=fewest)
    spans = [Span(f"s{n:02}", f"{Y} w{n}", X) for n in range(40)] + [Span("whole", X + Y)]
    with serve(fault_module, toy) as server:
        engine = connect(server.url)
        assert engine.verbs == {"generate"}
        assert engine.probe() == engine.verbs == {"generate", "score", "choose"}
        assert engine.observed()["echo"] == {"max_tokens": fewest, "start": start, "noise": 0.0}
        rows = scored(engine, *spans)
    for span in spans[:-1]:
        row = rows[span.key]
        assert row.error == ""
        assert row.total == pytest.approx(exact(toy, X, span.text), abs=1e-6)
        assert row.total == pytest.approx(math.fsum(row.values), abs=1e-9)
        assert "".join((X + span.text)[low:high] for low, high in row.offsets) == span.text
        assert row.context_tokens == len(toy.tokens(X)) + (start != "none")
    if start == "none":
        assert rows["whole"].total is None
        assert "nothing stands before the first token" in rows["whole"].error
    else:
        assert rows["whole"].total == pytest.approx(exact(toy, "", X + Y), abs=1e-6)
        assert rows["whole"].context_tokens == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fault": "silent"}, "ignores `logprobs`"),
        ({"fault": "next"}, "off by one"),
        ({"fault": "previous"}, "off by one"),
        ({"fault": "itself"}, "given the token itself"),
        ({"change": lambda told: told["token_logprobs"].__setitem__(1, 2.0)}, "no log-probability"),
    ],
)
def test_an_unsound_endpoint_is_refused_before_any_score(fault_module: Any, settings: Any, message: str) -> None:
    with serve(fault_module, fault_module.ToyModel(**settings)) as server:
        engine = connect(server.url)
        with pytest.raises(EngineError, match="cannot score"):
            list(engine.score(engine.plan_scores([Span("a", Y, X)])))
        assert engine.verbs == {"generate"}
        assert message in engine.why_not("score")
        assert message in engine.why_not("choose")
        assert engine.why_not("generate") == ""
        sent = len(server.bodies)
        with pytest.raises(EngineError, match="cannot score"):
            engine.fit(X, [Y])
        assert len(server.bodies) == sent
        assert all(X not in body.get("prompt", "") for body in server.bodies)


def test_a_text_only_endpoint_says_so(fault_module: Any) -> None:
    with serve(fault_module, lambda _: (404, {"error": {"message": "no"}}), fault_module.reply("hi")) as server:
        engine = connect(server.url)
        assert engine.probe() == {"generate"}
        assert engine.why_not("score").startswith("text-only endpoint")
        assert "no `top_logprobs`" in engine.why_not("choose")
        with pytest.raises(EngineError, match="cannot choose"):
            list(engine.choose([Question("q", (Message("user", "Yes or no?"),), ("yes", "no"))]))


def test_a_refused_key_is_no_lack_of_ability(fault_module: Any) -> None:
    with serve(fault_module, lambda _: (401, {"error": {"message": "bad key"}})) as server:
        engine = connect(server.url)
        with pytest.raises(EngineError, match="refuses the key"):
            engine.probe()


def test_faults_are_tried_again_and_hopeless_rows_fail_with_a_reason(fault_module: Any) -> None:
    toy = fault_module.ToyModel()
    texts = {"fine": " a", "once": " faults=429 a", "thrice": " faults=500,cut,reset a"}
    hopeless = {
        "never": " faults=" + "500," * 9 + "500 a",
        "refused": " faults=400 a",
        "list": " faults=list,list,list,list a",
    }
    with serve(fault_module, toy) as server:
        engine = connect(server.url, max_tries=4, concurrency=3)
        rows = scored(engine, *[Span(key, text, X) for key, text in {**texts, **hopeless}.items()])
        for key, text in texts.items():
            assert rows[key].total == pytest.approx(exact(toy, X, text), abs=1e-6)
        assert rows["never"].error == "HTTP 500: fault 500 (4 tries)"
        assert rows["refused"].error == "HTTP 400: fault 400"
        assert rows["list"].error == "the reply has no choices[0] (4 tries)"
        assert all(rows[key].total is None and rows[key].values == () for key in hopeless)


def test_hostile_replies_after_the_self_test_fail_their_rows(fault_module: Any) -> None:
    toy = fault_module.ToyModel()
    replies: dict[str, Any] = {
        "none": {"choices": [{"text": "", "logprobs": None}]},
        "short": {"choices": [{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [None]}}]},
        "types": {"choices": [{"logprobs": {"tokens": [1, {}], "token_logprobs": "no"}}]},
        "other": {"choices": [{"logprobs": {"tokens": ["something else"], "token_logprobs": [None]}}]},
    }

    def answer(body: dict[str, Any]) -> Any:
        name = body["prompt"].rpartition("=")[2]
        if name == "low":
            found = toy(body)
            found["choices"][0]["logprobs"]["token_logprobs"][-1] = -9999.0
            return found
        return replies.get(name) or toy(body)

    with serve(fault_module, answer) as server:
        engine = connect(server.url, max_tries=2)
        rows = scored(engine, *[Span(name, f" x={name}", X) for name in [*replies, "low"]], Span("good", " x", X))
    assert rows["good"].total is not None
    assert {
        name: bool(row.error) and row.total is None for name, row in rows.items() if name != "good"
    } == dict.fromkeys([*replies, "low"], True)


def test_what_an_endpoint_cannot_score_fails_without_a_request(fault_module: Any) -> None:
    with serve(fault_module, fault_module.ToyModel()) as server:
        engine = connect(server.url)
        engine.probe()
        sent = len(server.bodies)
        rows = scored(
            engine, Span("chat", Y, chat=(Message("user", "hi"),)), Span("end", Y, X, end=True), Span("void", "", X)
        )
        assert len(server.bodies) == sent
    assert "chat" in rows["chat"].error
    assert "end-of-turn" in rows["end"].error
    assert rows["void"].error == "there is no text to score"


def test_a_token_over_the_border_fails_until_the_border_is_moved(fault_module: Any) -> None:
    toy = fault_module.ToyModel()
    context, texts = "They said that he was un", ["kind to us", "fair to us"]
    with serve(fault_module, toy) as server:
        engine = connect(server.url)
        before = scored(engine, Span("a", texts[0], context))
        assert "spans the border between context and text" in before["a"].error
        first, border, moved = engine.fit(context, texts)
        assert (first, context[border:], moved) == (0, " un", True)
        sent = len(server.bodies)
        spans = [Span(text, context[border:] + text, context[first:border]) for text in texts]
        rows = scored(engine, *spans)
        assert len(server.bodies) == sent  # the echoes are kept
        assert engine.fit(context[:border], [" unkind to us"]) == (0, border, False)
    for span in spans:
        assert rows[span.key].total == pytest.approx(exact(toy, span.context, span.text), abs=1e-6)


def test_equal_texts_are_echoed_once(fault_module: Any) -> None:
    with serve(fault_module, fault_module.ToyModel()) as server:
        engine = connect(server.url)
        engine.probe()
        sent = len(server.bodies)
        rows = scored(engine, *[Span(f"s{n}", Y, X) for n in range(30)])
        assert len(server.bodies) == sent + 1
    assert len({rows[f"s{n}"].total for n in range(30)}) == 1


def test_plan_does_not_depend_on_the_order_and_keeps_equal_texts_together() -> None:
    spans = [Span(f"s{n:03}", f"text {n % 50}", X) for n in range(150)]
    plan = plan_scores(spans)
    assert plan == plan_scores(spans[::-1])
    assert sorted(span.key for batch in plan for span in batch.spans) == sorted(span.key for span in spans)
    home = {span.text: batch.key for batch in plan for span in batch.spans}
    assert all(home[span.text] == batch.key for batch in plan for span in batch.spans)
    assert len({batch.key for batch in plan}) == len(plan) > 1
    assert plan_scores([Span("a", "b", "c")])[0].key != plan_scores([Span("a", "bc")])[0].key
    with pytest.raises(BadInput, match=r"'s001' is asked for twice \(span 151\)"):
        plan_scores([*spans, spans[1]])


ASK = Question("q", (Message("user", "Yes or no?"),), ("Yes", "No"))


@pytest.mark.parametrize(
    ("options", "top", "wanted"),
    [
        (("Yes", "No"), listed(Yes=0.5, _Yes=0.1, No=0.2, yes=0.1), (0.6, 0.2)),
        (("yes", "No"), listed(Yes=0.5, No=0.2, yes=0.1), (0.1, 0.2)),
        (("transgender", "cis"), listed(trans=0.3, t=0.2, cis=0.1), (0.3, 0.1)),
        (("No", "None"), listed(No=0.3, None_=0.1, None_x=0.1), "begin with one token 'No'"),
        (("No", "None"), [*listed(No=0.3), {"token": "None", "logprob": math.log(0.1)}], (0.3, 0.1)),
        (("Yes", "No"), listed(Yes=0.9), "the option 'No' is not among the 1 likeliest tokens"),
        (("Yes", "No"), [*listed(Yes=0.9), {"token": "No", "logprob": -9999.0}], "the option 'No' is not among"),
        (("Yes", "No"), [*listed(Yes=0.9), {"token": "No", "logprob": 3.0}], "no log-probability"),
        (("Yes", "No"), listed(Yes=0.9, No=0.9), "add up to more than 1"),
        (("Yes", "No"), [{"token": 3, "logprob": -1.0}], "no text"),
        (("Yes", "No"), [3], "no text"),
        (("Yes", "No"), [], "lists no alternatives"),
        (("Yes", "No"), None, "lists no alternatives"),
        ((), listed(Yes=0.9), "no options"),
        (("", "Yes"), listed(Yes=0.9), "the option '' is not among"),
    ],
)
def test_options_are_matched_by_their_first_token(options: tuple[str, ...], top: Any, wanted: Any) -> None:
    found = read_choice(chat_reply(top), Question("q", ASK.chat, options))
    if isinstance(wanted, str):
        assert wanted in found.error
        assert (found.log_probs, found.probabilities, found.mass) == ((), (), None)
    else:
        assert found.error == ""
        assert [math.exp(value) for value in found.log_probs] == pytest.approx(wanted)
        assert found.probabilities == pytest.approx([p / sum(wanted) for p in wanted])
        assert found.mass == pytest.approx(sum(wanted))


def test_chats_are_chosen_in_order_and_failures_stay_in_their_row(fault_module: Any) -> None:
    def chat(body: dict[str, Any]) -> Any:
        assert (body["logprobs"], body["top_logprobs"], body["temperature"]) == (True, 20, 1.0)
        number = body["messages"][-1]["content"].rpartition(" ")[2]
        return chat_reply(listed(Yes=0.5, No=0.01 * int(number) if number.isdigit() else 0.2))

    def asked(number: int) -> str:
        return f"faults=429 {number}" if number % 5 == 0 else f"faults=400 {number}" if number % 7 == 0 else str(number)

    questions = [Question(f"q{n}", (Message("user", asked(n)),), ("Yes", "No")) for n in range(1, 31)]
    with serve(fault_module, lambda _: (404, {"error": {"message": "no"}}), chat) as server:
        engine = connect(server.url, concurrency=4)
        assert engine.probe() == {"generate", "choose"}
        rows = list(engine.choose(questions))
        with pytest.raises(EngineError, match="cannot score"):
            list(engine.choose([Question("p", ASK.chat, ("Yes", "No"), plain=True)]))
    assert [row.key for row in rows] == [question.key for question in questions]
    for number, row in enumerate(rows, start=1):
        if number % 5 and not number % 7:
            assert row.error == "HTTP 400: fault 400"
        else:
            assert row.log_probs == pytest.approx((math.log(0.5), math.log(0.01 * number)))


def test_plain_questions_are_chosen_by_the_echo_of_whole_options(fault_module: Any) -> None:
    toy = fault_module.ToyModel()
    options = (" kind and w3", " unkind")
    with serve(fault_module, toy) as server:
        engine = connect(server.url)
        rows = list(
            engine.choose(
                [
                    Question("q", (Message("user", X),), options, plain=True),
                    Question("bad", (Message("user", X),), (" kind", "s are"), plain=True),
                ]
            )
        )
        with pytest.raises(BadInput, match="'two' is plain text"):
            list(engine.choose([Question("two", (*ASK.chat, *ASK.chat), ("a", "b"), plain=True)]))
        with pytest.raises(EngineError, match="cannot choose: the endpoint has no /chat/completions"):
            list(engine.choose([ASK]))
    wanted = [exact(toy, X, option) for option in options]
    assert rows[0].log_probs == pytest.approx(wanted, abs=1e-6)
    assert rows[0].mass == pytest.approx(sum(map(math.exp, wanted)))
    assert "spans the border" in rows[1].error
    assert rows[1].mass is None


def test_a_plain_request_is_continued_without_a_chat(fault_module: Any) -> None:
    answer = lambda body: {"choices": [{"text": f"<{body['prompt']}>", "finish_reason": "length"}]}  # noqa: E731
    with serve(fault_module, answer) as server:
        engine = connect(server.url)
        requests = [Request("i", 0, (Message("user", "Once upon"),), plain=True)]
        sampling = Sampling(max_tokens=5)
        [(_, [row])] = engine.generate(engine.plan(requests, sampling), sampling, config="c")
        two = (Message("system", "a"), Message("user", "b"))
        with pytest.raises(BadInput, match=r"'i' is plain text, but has not one message \(request 1\)"):
            engine.plan([Request("i", 0, two, plain=True)], sampling)
    assert (row.text, row.finish_reason) == ("<Once upon>", "length")
    assert server.paths == ["/v1/completions"]
    assert "messages" not in server.bodies[0]
