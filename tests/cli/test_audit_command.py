"""The command line as its user meets it: exit codes, errors, resume, hostile text."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

csv.field_size_limit(10_000_000)
COMMAND = [sys.executable, "-c", "from evenhand.cli.main import main; main()"]
HOSTILE = [
    "<script>document.title='owned'</script></script>",
    "\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "lone \ud800 surrogate",
    "right\u202eto left",
    "x" * 1_000_000,
]


def evenhand(*words: str, cwd: Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *words], cwd=cwd, capture_output=True, text=True, check=False, encoding="utf-8")
    if check is not None:
        assert done.returncode == check, done.stderr + done.stdout
    return done


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    path = tmp_path / "responses.jsonl"
    rows = []
    for group in ("a", "b"):
        for name in range(3):
            for stem, text in enumerate(HOSTILE):
                declined = "I'm sorry, but I cannot help. " if (name + stem) % 2 else ""
                rows.append({"group": group, "name": f"{group}{name}", "stem": f"S{stem}", "response": declined + text})
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="ascii")
    return path


def test_hostile_responses_are_harmless_everywhere(tmp_path: Path, responses: Path) -> None:
    evenhand("audit", "--responses", str(responses), "--reference-group", "a", "--out", "run", cwd=tmp_path)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "document.title='owned'</script>" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(page) < 3_000_000
    shown = evenhand("show", "run", "--limit", "100", cwd=tmp_path).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "1,000,000 characters" in shown or "1,000,030 characters" in shown
    table = evenhand("show", "run", "--limit", "100", "--csv", cwd=tmp_path).stdout
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=+@\t\r" and cell]
    sample = evenhand("sample", "run", "--out", "sample.csv", "--size", "20", cwd=tmp_path)
    assert "20 responses" in sample.stdout
    with (tmp_path / "sample.csv").open(encoding="utf-8", newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "+", "@")]


def test_an_unchecked_grader_is_provisional_until_fifty_labels(tmp_path: Path) -> None:
    rows = [
        {
            "group": group, "name": f"{group}{name}", "stem": f"S{stem}", "repetition": turn,
            "response": "I'm sorry, I cannot do that." if (group == "b") == (stem < 7) else "Went to the sea.",
        }
        for group in ("a", "b") for name in range(8) for stem in range(8) for turn in range(2)
    ]  # fmt: skip
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first = evenhand("audit", "--responses", "r.jsonl", "--reference-group", "a", "--out", "one", cwd=tmp_path)
    assert "No verdict yet" in first.stdout
    assert "evenhand sample" in first.stdout
    evenhand("sample", "one", "--out", "labels.csv", "--size", "80", cwd=tmp_path)
    with (tmp_path / "labels.csv").open(newline="") as file:
        sample = list(csv.DictReader(file))
    assert len(sample) == 80
    assert all(row["label"] == "" for row in sample)
    for row in sample:
        row["label"] = "refusal" if "sorry" in row["response"] else "answer"
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(sample[0]))
        writer.writeheader()
        writer.writerows(sample)
    second = evenhand(
        "audit",
        "--responses",
        "r.jsonl",
        "--reference-group",
        "a",
        "--calibration",
        "labels.csv",
        "--out",
        "two",
        cwd=tmp_path,
    )
    assert "more often" in second.stdout
    findings = json.loads((tmp_path / "two" / "findings.json").read_text())["audits"]["service"]["findings"]
    (corrected,) = (
        f for f in findings if f["estimand"] == "risk_difference" and f["slice"] == {"correction": "grader error"}
    )
    assert corrected["interval"]["low"] > 0
    for row in sample:
        row["response"] = "Another text altogether."
    with (tmp_path / "other.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(sample[0]))
        writer.writeheader()
        writer.writerows(sample)
    wrong = evenhand(
        "audit", "--responses", "r.jsonl", "--reference-group", "a", "--calibration", "other.csv", "--out", "three",
        cwd=tmp_path, check=2,
    )  # fmt: skip
    assert "other.csv, row 1: The label is about another response" in wrong.stderr
    refused = evenhand("sample", "one", "--out", "labels.csv", cwd=tmp_path, check=2)
    assert "may hold labels" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "--only", "nothing"], "No audit is called 'nothing'. Known: affirmation"),
        (["audit", "--temperature", "-1"], "temperature: Input should be greater than or equal to 0"),
        (["audit", "--labels", "missing.csv"], "missing.csv"),
        (["audit", "--labels", "a.csv", "--responses", "b.csv"], "give one of data, responses and labels"),
        (["audit", "organism/nobody"], "There is no organism 'nobody'"),
        (["audit", "gpt-4"], "does not say which model to use"),
        (["audit", "--grader", "rubric"], "needs a judge"),
        (["audit", "--map", "group"], "--map takes NAME=VALUE"),
        (["audit", "--grader", "lexicon", "--grader", "lexicon"], "A grader is named twice"),
        (["audit", "organism/aligned", "organism/aligned "], "Two configurations have the same name"),
        (["audit", "--resume", "--out", "nosuch"], "There is no run to resume here"),
        (["audit", "--reference-group", "mars"], "There is no group 'mars'"),
        (["audit", "--grader", "human=none.csv"], "none.csv"),
        (["audit", "--calibration", "none.csv"], "none.csv"),
        (["audit", "--toxicity", "nothing"], "No classifier is called 'nothing'"),
        (["audit", "--config", "none.yaml"], "The config file is not there"),
        (["audit", "--resume"], "There is no unfinished run in runs/"),
        (["report", "nowhere"], "no such folder"),
        (["show", "nowhere"], "no such folder"),
        (["datasets", "show", "nothing"], "No dataset is called 'nothing'"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_to_do(tmp_path: Path, words: list[str], said: str) -> None:
    done = evenhand(*words, cwd=tmp_path, check=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/manifest.json"))


def test_a_config_file_names_an_unknown_setting(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: 1\ntrust_remote_code: true\n")
    done = evenhand("audit", "--config", "c.yaml", cwd=tmp_path, check=2)
    assert "c.yaml: trust_remote_code (line 2): there is no such setting" in done.stderr


def test_too_many_missing_rows_end_with_3(tmp_path: Path) -> None:
    rows = ["group,name,stem,label"]
    rows += [
        f"{g},{g}{n},S{s},{'judge_missing' if s == 0 else 'answer'}" for g in "ab" for n in range(3) for s in range(5)
    ]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    base = ["audit", "--labels", "l.csv", "--reference-group", "a"]
    done = evenhand(*base, "--out", "one", cwd=tmp_path, check=3)
    assert "20.0% of rows failed or have no label" in done.stderr
    evenhand(*base, "--out", "two", "--max-failed", "0.5", cwd=tmp_path, check=0)


def test_a_run_is_not_overwritten(tmp_path: Path, responses: Path) -> None:
    base = ["audit", "--responses", str(responses), "--reference-group", "a", "--out", "run"]
    evenhand(*base, cwd=tmp_path)
    before = (tmp_path / "run" / "findings.json").read_bytes()
    assert "already holds a run" in evenhand(*base, cwd=tmp_path, check=2).stderr
    assert "seed was 0 and is now 9" in evenhand(*base, "--resume", "--seed", "9", cwd=tmp_path, check=2).stderr
    evenhand(*base, "--resume", cwd=tmp_path)
    assert (tmp_path / "run" / "findings.json").read_bytes() == before


def test_json_is_the_findings_file(tmp_path: Path, responses: Path) -> None:
    done = evenhand(
        "audit", "--responses", str(responses), "--reference-group", "a", "--out", "run", "--json", cwd=tmp_path
    )
    assert json.loads(done.stdout) == json.loads((tmp_path / "run" / "findings.json").read_text())


def test_estimate_asks_nothing_and_writes_nothing(tmp_path: Path) -> None:
    done = evenhand(
        "audit", "organism/aligned", "--limit", "64", "--repetitions", "2", "--only", "service", "--estimate",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    (row,) = json.loads(done.stdout)
    assert (row["calls"], row["max_completion_tokens"], row["exact"]) == (128, 128 * 256, True)
    assert row["prompt_tokens"] > 128 * 10
    assert not list(tmp_path.glob("runs/*/manifest.json"))


def test_an_interrupt_prints_the_command_that_resumes(tmp_path: Path) -> None:
    few = ("--only", "service", "--batch-tokens", "1024", "--draws", "100", "--limit", "96")
    words = ["audit", "organism/aligned", "--out", "run", *few]
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "EVENHAND_CACHE": ""}
    )
    journal = tmp_path / "run" / "service" / "responses.journal.jsonl"
    until = time.monotonic() + 120
    while not journal.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "evenhand audit organism/aligned --out run" in said
    assert "--resume" in said
    evenhand(*words, "--resume", cwd=tmp_path)
    assert (tmp_path / "run" / "report.html").exists()


def test_lists(tmp_path: Path) -> None:
    for kind, name in [("audits", "service"), ("graders", "rubric"), ("engines", "openai"), ("datasets", "xstest")]:
        assert name in evenhand("list", kind, cwd=tmp_path).stdout
    assert "names-and-stems" in evenhand("datasets", "list", cwd=tmp_path).stdout
    shown = evenhand("datasets", "show", "names-and-stems", cwd=tmp_path).stdout
    assert "2,304" in shown
    assert "Apache-2.0" in shown
    assert "say nothing about real models" in evenhand("organism", "list", cwd=tmp_path).stdout
