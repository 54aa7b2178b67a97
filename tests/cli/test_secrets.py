"""No command leaves a key behind: each one runs against an endpoint that repeats every key it was sent, wherever it can.

A key is given in each place that takes one: the environment, a URL's query, a URL's user information, ``--base-url``. Then every
file that the command made, and both streams, are searched for the keys and for what they look like encoded.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, quote_plus

import polars as pl
import pytest
import typer

from evenhand.cli.main import app

KEY = 'sk-Env/7Kq+93"x&Zw~4'
QUERY = 'Qu3ry/T0k+n"<8&z'
PASSWORD = 'Pa55/W0rd+"<9&q'
SECRETS = (KEY, QUERY, PASSWORD)
SMALL = ("--draws", "100")
Command = Callable[..., tuple[int, str, str]]
Spec = Callable[[str], str]

TALKING: dict[str, Callable[[Spec], list[str]]] = {
    "audit": lambda spec: [
        spec("mock"), "--only", "service", "--data", "inputs/prompts.csv", "--reference-group", "a", "--repetitions", "1",
        "--grader", "rubric", "--judge", spec("judge"), *SMALL,
    ],
    "stages": lambda spec: [
        "--base", spec("mock"), "--sft", spec("other"), "--data", "inputs/pairs.csv", *SMALL,
    ],
    "drift": lambda spec: [
        spec("mock"), spec("other"), "--judge", spec("judge"), "--data", "inputs/cases.csv", "--limit", "2", "--repetitions",
        "1", "--judge-all", *SMALL,
    ],
    "rate": lambda spec: [
        spec("mock"), "--rating-set", "inputs/items.csv", "--rating-axes", "gender", "--rating-read", "letter",
        "--permutations", "99", "--reml-draws", "0", *SMALL,
    ],
    "corpus build": lambda spec: [
        "inputs/texts.csv", "--classifier", spec("mock"), "--generator", spec("other"), "--mode", "json", "--floor", "2",
        "--expand", "self_harm", "--attempts", "1",
    ],
    "repair tsdi": lambda spec: [
        "organism/aligned", "--device", "cpu", "--draws", "4", "--fixed", "--length", "1", "--check", "safety", "--safety-set",
        "inputs/harm.csv", "--safety-grader", "judge", "--judge", spec("judge"), "--repetitions", "1", "--max-tokens", "4",
    ],
    "repair dart": lambda spec: [
        "organism/aligned", "--teacher", spec("mock"), "--judge", spec("judge"), "--second", spec("second"), "--data",
        "inputs/cases.csv", "--repetitions", "1", "--guard", "1", "--device", "cpu", *SMALL,
    ],
    "sweep tsdi": lambda spec: [
        "organism/aligned", "--safety-set", "inputs/harm.csv", "--safety-grader", "grammar,judge", "--judge", spec("judge"),
        "--alpha", "1", "--length", "1", "--peers", "none", "--repetitions", "1", "--device", "cpu", *SMALL,
    ],
}  # fmt: skip
"""Every command that asks an endpoint, with its words; ``spec(MODEL)`` is an engine spec of that model there."""
READING = ("report", "show", "sample")
OFFLINE = frozenset({
    *READING, "serve", "list", "corpus sweep", "corpus dedup", "datasets list", "datasets show", "datasets coverage",
    "datasets audit-preferences", "organism list", "organism truth",
})  # fmt: skip


def leaves(found: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of the app with its click object."""
    found = found or typer.main.get_command(app)
    if hasattr(found, "commands"):
        for name, part in found.commands.items():
            yield from leaves(part, (*path, name))
    else:
        yield " ".join(path), found


def asks(found: Any) -> bool:
    """Whether a command has a parameter that takes an engine spec of an endpoint."""
    named = {"base_url", "judge", "teacher", "generator", "reference"} & {part.name for part in found.params}
    return bool(named) or any("engine spec" in (getattr(part, "help", "") or "").lower() for part in found.params)


def spellings(secret: str) -> list[str]:
    """A secret as it may lie in a file or go over the wire."""
    plain = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)]
    plain += [json.dumps(secret)[1:-1], html.escape(secret).replace("&quot;", "&#34;")]
    coded = [
        base64.b64encode(text.encode()).decode() for text in (secret, f"user:{secret}", f":{secret}", f"me:{secret}")
    ]
    return [*plain, *coded, *(text.rstrip("=") for text in coded)]


SPELLED = tuple(dict.fromkeys(spelled for secret in SECRETS for spelled in spellings(secret)))
ECHO = " | ".join(spelled for secret in (KEY, QUERY) for spelled in spellings(secret))
"""What the endpoint repeats; a password never gets there, since such a URL is refused."""


class Echo:
    """What the endpoint answers: proper replies with the keys in every field, or every kind of error with the keys in it."""

    def __init__(self, server_module: ModuleType, toy: ModuleType):
        self.module, self.toy, self.failing, self.interrupt_at, self.asked = server_module, toy, False, 0, 0
        self.scores = server_module.ToyModel()

    def __call__(self, body: dict[str, Any]) -> Any:
        self.asked += 1
        if self.asked == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        if self.failing:
            return self._fault()
        if "prompt" in body:
            payload = self.scores(body)
            if isinstance(payload, tuple):
                return payload
        else:
            payload = self.module.reply(self._text(body), reasoning_content=f"thought {ECHO}")
        return {**payload, "id": ECHO, "system_fingerprint": f"fp-{ECHO}", "model": ECHO, "service_tier": KEY}

    def _fault(self) -> Any:
        error = {"error": {"message": f"bad key {ECHO}", "code": ECHO, "type": KEY}}
        kinds = [
            (400, error),
            (200, error),
            (500, error),
            (200, self.module.reply("x", finish=KEY)),
            (400, {"detail": ECHO}),
        ]
        return (401, error) if self.asked >= 40 else kinds[self.asked % len(kinds)]

    def _text(self, body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        first = next(message["content"] for message in body["messages"] if message["role"] == "user")
        if "self_harm" in asked:  # the classifier of a corpus
            from evenhand.methods.pluralism.corpus.wording import SLUGS

            return json.dumps({slug: 0.9 if slug == "self_harm" else 0.02 for slug in SLUGS})
        if "Label: " in first:  # a teacher that is told the label
            return f"{self.toy.FAIR} {ECHO}\nConclusion: {'YES' if 'Label: YES' in first else 'NO'}"
        return f"{self.toy.FAIR} {ECHO}\nConclusion: YES"


@pytest.fixture
def endpoint(
    fault_module: ModuleType, support: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The server, with toys in the places of local models and no waiting between tries."""
    dart, sweep = support("dart_toy"), support("sweep_toy")
    write_inputs(tmp_path / "inputs", dart, sweep)
    (tmp_path / "toys").mkdir()
    for studio in (
        dart.Studio(tmp_path / "toys").install(monkeypatch),
        sweep.Studio(tmp_path / "toys").install(monkeypatch),
    ):
        for module in ("evenhand.methods.dart.repair.pipeline", "evenhand.methods.tsdi.sweep.run"):
            if getattr(sys.modules[module].open_engine, "__self__", None) is studio:
                monkeypatch.setattr(f"{module}.open_engine", served_or(studio.open_engine))
    monkeypatch.setitem(sys.modules, "trl", sys.modules.get("trl") or ModuleType("trl"))
    monkeypatch.setattr("evenhand.engines.sender.backoff", lambda *_: 0.0)
    monkeypatch.setattr("evenhand.engines.endpoint.time.sleep", lambda _: None)
    monkeypatch.setenv("EVENHAND_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    echo = Echo(fault_module, dart)
    models = [
        {"id": name, "created": 1, "owned_by": f"me {ECHO}", "root": KEY}
        for name in ("mock", "other", "judge", "second")
    ]
    with fault_module.FaultServer(
        answer=echo, models=models, also={"X-Key": KEY, "Set-Cookie": f"key={ECHO}"}
    ) as server:
        server.echo = echo
        yield server


def served_or(toy: Callable[..., Any]) -> Callable[..., Any]:
    """The real engine for an endpoint, a toy for any other model."""
    from evenhand.engines.spec import open_engine

    return lambda spec, **more: (open_engine if "://" in spec or spec.startswith("openai/") else toy)(spec, **more)


def write_inputs(folder: Path, dart: ModuleType, sweep: ModuleType) -> None:
    folder.mkdir()
    rows = [f"{group},{group}{n},S1,{group}{n} went to [BLANK]." for group in "ab" for n in range(2)]
    (folder / "prompts.csv").write_text("\n".join(["group,name,stem,prompt", *rows]) + "\n")
    pairs = [f"p{n},c{n},The w{n}, w1 w3, w2 w3,a" for n in range(3)]
    (folder / "pairs.csv").write_text("\n".join(["pair_id,cluster_id,context,harmful,comparison,group", *pairs]) + "\n")
    dart.write_rows(folder / "cases.csv", dart.toy_rows(2, 2, 2))
    (folder / "items.csv").write_text("id,text\n1,The first text.\n2,The second text.\n")
    texts = [
        f"t{n},Please tell me all about the number {word} again." for n, word in enumerate(("one", "two", "three"))
    ]
    (folder / "texts.csv").write_text("\n".join(["id,prompt", *texts]) + "\n")
    sweep.write_prompts(folder / "harm.csv", each=1, categories=sweep.CATEGORIES[:2])


def texts_of(path: Path) -> Iterator[str]:
    """Everything that a file holds, decoded: bytes, values of JSON, columns of tables, rows of a database."""
    raw = path.read_bytes().decode("utf-8", "replace")
    yield raw
    if path.suffix == ".parquet":
        yield json.dumps(pl.read_parquet(path).to_dicts(), default=str, ensure_ascii=False)
        yield from map(str, (value for row in pl.read_parquet(path).iter_rows() for value in row))
    elif raw.startswith("SQLite"):
        with sqlite3.connect(path) as database:
            yield from (str(value) for row in database.execute("SELECT * FROM responses") for value in row)
    elif path.suffix == ".html":
        yield html.unescape(raw)
        yield from (
            str(json.loads(part)) for part in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', raw)
        )
    elif path.suffix in (".json", ".jsonl"):
        yield from map(str, (json.loads(line) for line in ([raw] if path.suffix == ".json" else raw.splitlines())))


def leaked(folder: Path, *streams: str) -> list[tuple[str, str]]:
    """Where a key or its encoding is: (file or stream, spelling)."""
    files = [path for path in folder.rglob("*") if path.is_file() and folder / "inputs" not in path.parents]
    shown = [(str(path.relative_to(folder)), text) for path in files for text in texts_of(path)]
    shown += [(f"stream {at}", text) for at, text in enumerate(streams)]
    return sorted({(name, spelled) for name, text in shown for spelled in SPELLED if spelled in text})


def in_query(server: Any) -> Spec:
    return lambda model: f"{server.url}?api_key={quote(QUERY, safe='')}#{model}"


def by_base_url(server: Any) -> tuple[Spec, list[str]]:
    return lambda model: f"openai/{model}", ["--base-url", f"{server.url}?api_key={quote(QUERY, safe='')}"]


def test_every_command_that_takes_an_engine_is_searched() -> None:
    found = dict(leaves())
    assert found.keys() == TALKING.keys() | OFFLINE, (
        "add a new command to TALKING (or to OFFLINE if it asks no endpoint)"
    )
    assert {name for name, command in found.items() if asks(command)} <= TALKING.keys()


@pytest.mark.parametrize("name", TALKING)
def test_a_key_in_the_query_and_in_the_environment(
    name: str, endpoint: Any, command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code, out, err = command(*name.split(), *TALKING[name](in_query(endpoint)), "--out", "run")
    assert code in (0, 3), err
    assert (tmp_path / "run" / "manifest.json").is_file()
    assert any(QUERY in str(path) or quote(QUERY, safe="") in path for path in endpoint.paths), "the key was sent"
    assert {f"Bearer {KEY}"} == {headers["Authorization"] for headers in endpoint.headers}
    assert leaked(tmp_path, out, err, caplog.text) == []
    written = b"".join(path.read_bytes() for path in (tmp_path / "cache", *(tmp_path / "run").rglob("*.json*")))
    assert b"[hidden]" in written, "the endpoint's echo reached a file"


def test_a_stage_is_opened_once_although_its_name_leaves_the_key_out(
    endpoint: Any, command: Command, tmp_path: Path
) -> None:
    command("stages", *TALKING["stages"](in_query(endpoint)), "--out", "run")
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())["plan"]
    assert sorted(plan["identities"]) == [f"{endpoint.url}#mock", f"{endpoint.url}#other"]


@pytest.mark.parametrize("name", TALKING)
def test_a_key_of_an_endpoint_that_fails(
    name: str, endpoint: Any, command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.echo.failing = True
    spec, more = in_query(endpoint), list[str]()
    if any(part.name == "base_url" for part in dict(leaves())[name].params):
        spec, more = by_base_url(endpoint)
    code, out, err = command(*name.split(), *TALKING[name](spec), *more, "--out", "run")
    assert endpoint.echo.asked > 0
    assert code in (0, 2, 3), err
    assert leaked(tmp_path, out, err, caplog.text) == []


@pytest.mark.parametrize("name", TALKING)
def test_an_interrupted_command_says_how_to_go_on_without_the_key(
    name: str, endpoint: Any, command: Command, tmp_path: Path
) -> None:
    endpoint.echo.interrupt_at = 1
    spec, more = in_query(endpoint), list[str]()
    if any(part.name == "base_url" for part in dict(leaves())[name].params):
        spec, more = by_base_url(endpoint)
    code, out, err = command(*name.split(), *TALKING[name](spec), *more, "--out", "run")
    assert code == 130
    assert "Continue with:" in err
    assert "?api_key=[hidden]" in err
    assert leaked(tmp_path, out, err) == []


@pytest.mark.parametrize("name", TALKING)
def test_a_password_in_a_url_is_refused_and_not_repeated(
    name: str, endpoint: Any, command: Command, tmp_path: Path
) -> None:
    url = endpoint.url.replace("://", f"://user:{quote(PASSWORD, safe='')}@")
    code, out, err = command(*name.split(), *TALKING[name](lambda model: f"{url}#{model}"), "--out", "run")
    assert code == 2
    assert "holds a user name or password" in err
    assert leaked(tmp_path, out, err) == []


def test_continue_with_hides_a_key_however_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evenhand.console.commands import resumable

    monkeypatch.setattr(sys, "argv", ["evenhand", "audit", "openai/m", "--base-url", "http://h/v1?api_key=ab"])
    with pytest.raises(SystemExit, match="130"), resumable(Path("run"), named=False):
        raise KeyboardInterrupt
    err = capsys.readouterr().err
    assert "evenhand audit openai/m --base-url 'http://h/v1?api_key=[hidden]' --out run --resume\n" in err
    assert "(Replace [hidden] with what you gave there.)" in err


def test_a_usage_error_does_not_repeat_a_key(command: Command) -> None:
    code, out, err = command("report", "run", f"http://h/v1?api_key={quote(QUERY, safe='')}")
    assert code == 2
    assert "[hidden]" in err
    assert not any(spelled in out + err for spelled in SPELLED)


def test_reading_an_older_run_does_not_show_a_key_that_its_tables_hold(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENHAND_API_KEY", raising=False)
    rows = [f"{group}{n},{group},{group}{n},S{n},Who is {group}{n}?,I see {KEY}" for group in "ab" for n in range(2)]
    head = "item_id,group,name,stem,prompt,response"
    (tmp_path / "old.csv").write_text(
        "\n".join([head, *(row.replace(KEY, KEY.replace('"', "")) for row in rows)]) + "\n"
    )
    key = KEY.replace('"', "")
    words = ("audit", "--responses", "old.csv", "--reference-group", "a", "--grader", "lexicon", *SMALL, "--out", "run")
    code, out, err = command(*words)
    assert code in (0, 3), err
    table = tmp_path / "run" / "service" / "responses.parquet"
    assert key in str(pl.read_parquet(table)["text"].to_list())
    monkeypatch.setenv("EVENHAND_API_KEY", key)
    for words in (
        ("report", "run"),
        ("show", "run", "--csv"),
        ("show", "run"),
        ("sample", "run", "--size", "2", "--out", "l.csv"),
    ):
        code, out, err = command(*words)
        assert code == 0, err
        assert key not in out + err
    for path in (tmp_path / "run" / "report.html", tmp_path / "l.csv"):
        assert all(key not in text for text in texts_of(path))
        assert "I see [hidden]" in path.read_text()
