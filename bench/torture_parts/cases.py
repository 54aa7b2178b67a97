"""Cases of damaged input: tables, configs, options, artefacts, models, run folders, caches and journals."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torture_parts.kit import Place
from torture_parts.mutate import (
    ODD,
    bytes_of,
    flipped,
    folder_damaged,
    json_damaged,
    lines_damaged,
    parquet_damaged,
    text_damaged,
    yaml_damaged,
)  # fmt: skip
from torture_parts.processes import Zygote, environment
from torture_parts.readers import CONFIG, GOOD, LABELS, READERS, RESPONSES, Reader, csv_bytes

_ADAPTER = """
import sys
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
settings = LoraConfig(r=2, task_type="CAUSAL_LM", target_modules="all-linear")
get_peft_model(AutoModelForCausalLM.from_pretrained(sys.argv[1]), settings).save_pretrained(sys.argv[2])
"""
"""Makes an untrained adapter of a model folder; a process of its own, since the libraries write to the screen."""


@dataclass(frozen=True)
class Case:
    """One command line over damaged input.

    Where its exit code is 0, the file ``same`` must hold what it holds in the good run; ``refused`` forbids the exit code 0.
    """

    name: str
    argv: list[str]
    cwd: Path
    env: dict[str, str] = field(default_factory=dict)
    same: tuple[str, bytes] | None = None
    refused: bool = False


class Bases:
    """Good runs, artefacts and models, each made when the first case needs it."""

    def __init__(self, place: Place, zygote: Zygote):
        self.folder = place.scratch / "bases"
        self.folder.mkdir(exist_ok=True)
        self.zygote = zygote

    def made(self, name: str, words: str, *, env: dict[str, str] | None = None) -> Path:
        """The folder in which this command was run, with its output in ``run``."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            (folder / "labels.csv").write_bytes(csv_bytes(LABELS))
            (folder / "responses.csv").write_bytes(csv_bytes(RESPONSES))
            done = self.zygote.run(
                [*words.split(), "--out", "run"], folder, env=env or {"EVENHAND_CACHE": ""}, limit=600.0
            )
            if done.code != 0:
                raise RuntimeError(f"{words} fails:\n{done.text[-2000:]}")
        return folder

    def artefact(self) -> Path:
        """A bias of TSDI."""
        return (
            self.made("tsdi", "repair tsdi organism/aligned --draws 16 --fixed --length 2 --check none")
            / "run"
            / "bias"
        )

    def adapter(self) -> Path:
        """A LoRA adapter of an organism, untrained."""
        folder = self.folder / "adapter"
        if not folder.exists():
            command = [sys.executable, "-c", _ADAPTER, str(self.model()), str(folder)]
            subprocess.run(command, check=True, capture_output=True, env=environment(), timeout=600)
        return folder

    def model(self) -> Path:
        """A model folder: a shipped organism."""
        import evenhand

        return Path(evenhand.__file__).parent / "organisms" / "weights" / "aligned"


def table_case(reader: Reader) -> Callable[[Bases, Path, random.Random], Case]:
    """Cases of one table reader, in every format."""

    def make(bases: Bases, folder: Path, draw: random.Random) -> Case:
        kind = (
            "txt"
            if reader.text
            else draw.choice(("csv", "csv", "csv", "tsv", "jsonl", "jsonl", "ndjson", "parquet", "parquet"))
        )
        path = folder / f"in.{kind}"
        if kind in ("jsonl", "ndjson"):
            path.write_bytes(lines_damaged(reader.rows, draw))
        elif kind == "parquet":
            parquet_damaged(reader.rows, path, draw)
        else:
            data = csv_bytes(reader.rows)
            path.write_bytes(text_damaged(data.replace(b",", b"\t") if kind == "tsv" else data, draw))
        if reader.name in GOOD:
            (folder / "good.csv").write_bytes(csv_bytes(GOOD[reader.name]))
        argv = [word.replace("FILE", path.name).replace("GOOD", "good.csv") for word in reader.words.split()]
        return Case(f"{reader.name}, {kind}", argv, folder)

    return make


def config_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged YAML file of settings."""
    (folder / "in.yaml").write_bytes(yaml_damaged(CONFIG.encode(), draw))
    return Case("config", ["audit", "--config", "in.yaml", "--estimate"], folder)


def option_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """Odd values of options."""
    from evenhand.config import audit_settings

    names = [
        name.replace("_", "-")
        for name in audit_settings()
        if name not in ("models", "policy", "plain", "expect_echo", "data")
    ]
    chosen = draw.sample(names, draw.choice((1, 1, 2)))
    values = [value for value in map(str, ODD) if "\0" not in value and "\ud800" not in value and len(value) < 1000]
    words = [word for name in chosen for word in (f"--{name}", draw.choice(values))]
    return Case(
        "options", ["audit", "organism/aligned", "--only", "service", "--limit", "8", "--estimate", *words], folder
    )


def artefact_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged bias. A table with one bit changed must be refused."""
    target = folder / "bias"
    shutil.copytree(bases.artefact(), target)
    bits = draw.random() < 0.5
    table = target / "bias.safetensors"
    if bits:
        data = table.read_bytes()
        start = int.from_bytes(data[:8], "little") + 8
        table.write_bytes(data[:start] + flipped(data[start:], draw))
    else:
        folder_damaged(target, draw)
    argv = ["audit", "organism/aligned+tsdi:bias", "--only", "service", "--limit", "8", "--estimate"]
    return Case("artefact, one bit" if bits else "artefact", argv, folder, refused=bits)


def adapter_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged adapter."""
    shutil.copytree(bases.adapter(), folder / "adapter")
    folder_damaged(folder / "adapter", draw, (".json", ".safetensors"))
    argv = ["audit", f"hf/{bases.model()}+adapter", "--only", "service", "--limit", "4", "--estimate"]
    return Case("adapter", argv, folder)


def model_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A model folder with a damaged file, or a hostile chat template."""
    target = folder / "model"
    shutil.copytree(bases.model(), target)
    name = ""
    if draw.random() < 0.3:
        template = draw.choice(
            ("{% for a in range(10**9) %}x{% endfor %}", "{{ 'x' * 10**10 }}", "{{ messages.__class__.__mro__ }}", "{% for",
            "{{ 1/0 }}",
             "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "", "{{ raise_exception('no') }}",
             "{{ messages[99].content }}", "{% include 'x' %}",
             "{{ 10**(10**7) }}", "{{ ('x' * 10**6) | center(10**9) }}",
             "{% set x = [] %}{% for a in range(10**6) %}{% set _ = x.append(x) %}{% endfor %}")
        )  # fmt: skip
        for file in ("chat_template.jinja", "tokenizer_config.json"):
            path = target / file
            if path.exists() and file.endswith(".json"):
                path.write_text(
                    json.dumps({**json.loads(path.read_text(encoding="utf-8")), "chat_template": template}),
                    encoding="utf-8",
                )
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")
        name = ", template"
    else:
        folder_damaged(target, draw, (".json", ".safetensors"))
    return Case(f"model{name}", ["audit", "hf/model", "--only", "service", "--limit", "4", "--estimate"], folder)


_RUNS = {
    "labels": "audit --labels labels.csv --reference-group a --draws 100",
    "responses": "audit --responses responses.csv --grader lexicon --reference-group a --draws 100",
    "service": "audit organism/aligned --only service --limit 16 --repetitions 1 --max-tokens 16 --draws 100",
    "rate": "rate organism/aligned --rating-items 2 --permutations 99 --reml-draws 0 --draws 100",
    "tsdi": "repair tsdi organism/aligned --draws 16 --fixed --length 2 --check none",
    "drift": "drift organism/sft organism/aligned --judge rule --limit 4 --draws 100 --repetitions 1",
    "reward": "audit organism/aligned --only reward --limit 16 --draws 100 --pair-set binary",
}


def run_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged run folder, read by report, show or sample. One changed bit of a table must not change the page silently."""
    kind = draw.choice(tuple(_RUNS))
    made = bases.made(kind, _RUNS[kind])
    shutil.copytree(made / "run", folder / "run")
    page = (made / "run" / "report.html").read_bytes()
    tables = sorted((folder / "run").rglob("*.parquet"))
    if tables and draw.random() < 0.25:
        path = draw.choice(tables)
        path.write_bytes(flipped(path.read_bytes(), draw))
        return Case(f"run of {kind}, one bit of {path.name}", ["report", "run"], folder, same=("run/report.html", page))
    what = folder_damaged(folder / "run", draw, draw.choice(((), (".json",), (".parquet",))))
    words = draw.choice(
        (
            ["report", "run"],
            ["report", "run"],
            ["show", "run"],
            ["show", "run", "--csv"],
            ["sample", "run", "--out", "sample.csv", "-n", "4"],
        )
    )
    return Case(f"run of {kind}, {what}", words, folder)


def cache_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged request cache: it is refused or repaired, and changes no finding."""
    words = _RUNS["service"]
    made = bases.made("cached", words, env={"EVENHAND_CACHE": "cache.sqlite"})
    for path in made.glob("cache.sqlite*"):
        shutil.copy(path, folder)
    path = folder / "cache.sqlite"
    data = path.read_bytes()
    path.write_bytes(flipped(data, draw, draw.choice((1, 5, 50))) if draw.random() < 0.7 else bytes_of(data, draw))
    good = (made / "run" / "findings.json").read_bytes()
    argv = [*words.split(), "--out", "run"]
    return Case("cache", argv, folder, {"EVENHAND_CACHE": "cache.sqlite"}, same=("run/findings.json", good))


def journal_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged journal of a run that is resumed: it is refused or repaired, and changes no finding."""
    made = bases.made("service", _RUNS["service"])
    shutil.copytree(made / "run", folder / "run")
    path = draw.choice(sorted((folder / "run").rglob("*.journal.jsonl")))
    data = path.read_bytes()
    path.write_bytes(flipped(data, draw) if draw.random() < 0.5 else bytes_of(data, draw))
    good = (made / "run" / "findings.json").read_bytes()
    argv = [*_RUNS["service"].split(), "--out", "run", "--resume"]
    return Case("journal", argv, folder, {"EVENHAND_CACHE": ""}, same=("run/findings.json", good))


def models_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A damaged list of checkpoints to sweep."""
    good = b"- {spec: organism/aligned, beta: 0.5, steps: 10, cleansing: 0.5, reference: organism/sft}\n- {spec: organism/dpo}\n"
    (folder / "in.yaml").write_bytes(yaml_damaged(good, draw))
    argv = ["sweep", "tsdi", "--models", "in.yaml", "--safety-set", "absent.csv", "--out", "run"]
    return Case("checkpoints", argv, folder)


def header_case(bases: Bases, folder: Path, draw: random.Random) -> Case:
    """A bias with a damaged header."""
    shutil.copytree(bases.artefact(), folder / "bias")
    path = folder / "bias" / "header.json"
    path.write_bytes(json_damaged(json.loads(path.read_bytes()), draw))
    argv = ["audit", "organism/aligned+tsdi:bias", "--only", "service", "--limit", "8", "--estimate"]
    return Case("artefact header", argv, folder)


FAMILIES: tuple[tuple[Callable[[Bases, Path, random.Random], Case], int], ...] = (
    *((table_case(reader), reader.weight) for reader in READERS),
    (config_case, 32), (option_case, 6), (artefact_case, 3), (header_case, 2), (adapter_case, 1), (model_case, 1), (run_case, 10),
    (cache_case, 1), (journal_case, 1), (models_case, 4),
)  # fmt: skip
"""Every kind of case with its weight in the draw."""
