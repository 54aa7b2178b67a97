"""Spec strings and engine options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.spec import EngineOptions, open_engine, parse_spec
from evenhand.errors import BadInput, EngineError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("mine", "a+b", "v1@2", "ada", "plain", "org/model"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ada" / "adapter_config.json").write_text("{}")
    (tmp_path / "a+b" / "adapter_config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_kinds(folders: Path) -> None:
    organism = parse_spec("organism/aligned")
    assert (organism.kind, organism.name, organism.text) == ("organism", "aligned", "organism/aligned")
    hub = parse_spec("hf/meta-llama/Llama-3.1-8B-Instruct@v1.0")
    assert (hub.name, hub.revision, hub.folder, hub.adapter) == ("meta-llama/Llama-3.1-8B-Instruct", "v1.0", None, None)
    assert parse_spec("hf/gpt2").name == "gpt2"
    assert parse_spec("openai/ft:gpt-4o:me/x").name == "ft:gpt-4o:me/x"
    http = parse_spec("https://host:8443/v1/?code=secret#org/model:latest")
    assert (http.kind, http.base_url, http.name, http.query) == (
        "http",
        "https://host:8443/v1",
        "org/model:latest",
        "code=secret",
    )
    assert "secret" not in repr(http)
    assert http.text == "https://host:8443/v1#org/model:latest"


def test_folders(folders: Path) -> None:
    assert parse_spec("hf/mine").folder == Path("mine")
    assert parse_spec(f"hf/{folders}/mine").folder == folders / "mine"
    assert parse_spec("hf/./mine").folder == Path("mine")
    assert parse_spec("hf/org/model").folder == Path("org/model")
    assert parse_spec("hf/a+b").folder == Path("a+b")
    assert parse_spec("hf/v1@2").folder == Path("v1@2")


def test_adapters(folders: Path) -> None:
    for text, folder, adapter in [
        ("hf/mine+ada", "mine", "ada"),
        ("hf/a+b+ada", "a+b", "ada"),
        ("hf/mine+a+b", "mine", "a+b"),
        ("hf/a+b+a+b", "a+b", "a+b"),
        (f"hf/{folders}/v1@2+{folders}/ada", folders / "v1@2", folders / "ada"),
    ]:
        spec = parse_spec(text)
        assert (spec.folder, spec.adapter) == (Path(folder), Path(adapter)), text
    hub = parse_spec("hf/org/base@main+./ada")
    assert (hub.name, hub.revision, hub.adapter) == ("org/base", "main", Path("ada"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not say which model"),
        ("aligned", "does not say which model"),
        ("hf/", "does not say which model"),
        ("meta-llama/Llama-3", "no engine 'meta-llama'.*write hf/meta-llama/Llama-3"),
        ("mine/x", "no engine 'mine'"),
        ("hf//no/such/folder", "no such folder"),
        ("hf/../nowhere/x", "no such folder"),
        ("hf/mine@main", "a folder has no revisions.*Write hf/mine"),
        ("hf/mine+nowhere", "no adapter in 'nowhere'"),
        ("hf/mine+plain", "no adapter in 'plain'"),
        ("hf/org/base+user/adapter", "no adapter in 'user/adapter'.*download"),
        ("http://host/v1", "does not name a model"),
        ("http://host/v1#", "does not name a model"),
        ("http://#model", "not an http"),
        ("http://host:port/v1#model", "not an http"),
        ("https://me:hunter2@host/v1#model", "user name or password.*EVENHAND_API_KEY"),
    ],
)
def test_bad_specs_say_what_to_do(folders: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_spec(text)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60))
def test_anything_is_parsed_or_refused(text: str) -> None:
    try:
        spec = parse_spec(text)
    except BadInput:
        return
    assert spec.name
    assert spec.text == spec.text.strip()


def test_options_are_checked() -> None:
    with pytest.raises(BadInput, match="Engine options: concurrency"):
        open_engine("openai/x", concurrency=0)
    with pytest.raises(BadInput, match="temperatur"):
        open_engine("openai/x", temperatur=1)
    assert all(field.description for field in EngineOptions.model_fields.values())
    os.environ.pop("OPENAI_API_KEY", None)
    with pytest.raises(EngineError, match="OPENAI_API_KEY"):
        open_engine("openai/x", options=EngineOptions(concurrency=2))
