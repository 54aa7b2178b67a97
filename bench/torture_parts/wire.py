"""Audits over an endpoint that answers wrongly in some 300 ways: each row is accounted for once, and no key is found anywhere."""

from __future__ import annotations

import csv
import itertools
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torture_parts.asked import tag_of
from torture_parts.bodies import KINDS
from torture_parts.kit import Counts, Done, Place, as_command, traceback_in
from torture_parts.processes import Zygote
from torture_parts.replies import BOMBS, TERMINAL
from torture_parts.server import SLOW, FaultyServer

MOST_MEMORY = 1500.0
"""MiB that a run may take. It holds 32 replies of up to 32 MiB at a time beside its libraries."""
_QUICK = {"timeout": 3.0, "deadline": 25.0, "backoff": 0.02, "backoff_cap": 0.3}
"""Engine options of the runs, so that a request that fails for good does so within seconds."""
_GROUPS, _NAMES, _STEMS, _REPETITIONS = 2, 5, 40, 2
_ROWS = _GROUPS * _NAMES * _STEMS * _REPETITIONS
DOCUMENTED = frozenset({0, 2, 3})


def wire(place: Place) -> Counts:
    """Run audits until the time is spent. A try is one faulty reply; a bad run counts once."""
    total, kinds = Counts(), set[str]()
    with Zygote(place.scratch / "zygote", "httpx", "evenhand.runs.runner", "evenhand.report.build") as zygote:
        for turn in itertools.count():
            if place.over and total.tried:
                break
            total.add(one(zygote, place, turn, kinds))
    known = len(KINDS) + len(BOMBS) + len(TERMINAL) + len(SLOW)
    total.notes.append(f"{len(kinds)} of {known} kinds of faulty reply in {turn} runs of {_ROWS} rows")
    return total


def prompts(path: Path, turn: int) -> list[str]:
    """Write the prompts of one run; every one is different."""
    found = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "name", "stem", "prompt"])
        for group, name, stem in itertools.product("ab", range(_NAMES), range(_STEMS)):
            found.append(f"Run {turn}: {group}{name} went to the market {stem} times. Why?")
            writer.writerow([group, f"{group}{name}", f"S{stem}", found[-1]])
    return found


def one(zygote: Zygote, place: Place, turn: int, kinds: set[str]) -> Counts:
    """One run over the faulty server, continued until it ends as it should, then once more with a server that is well again."""
    counts, draw = Counts(), place.random("wire", turn)
    folder = place.scratch / f"run-{turn}"
    folder.mkdir()
    key = f"sk-torture{draw.getrandbits(96):024x}"
    secrets = {"key": key}
    asked = prompts(folder / "prompts.csv", turn)
    with FaultyServer(f"{place.seed}/{turn}", key) as server:
        server.terminal, server.bombs = (3 if turn % 4 == 1 else 0), (2 if turn % 3 == 2 else 0)
        base = server.url
        if turn % 3 == 1:
            secrets["query"] = f"qu{draw.getrandbits(80):020x}"
            base = f"{base}?api_key={secrets['query']}"
        if turn % 5 == 2:
            wrong = refused_password(zygote, folder, base, draw, counts)
            if wrong:
                place.fail("wire", wrong.split(":")[0], f"run {turn}", wrong, [folder])
        argv = [
            "audit", f"{base}#m", "--only", "service", "--data", "prompts.csv", "--reference-group", "a", "--repetitions",
            str(_REPETITIONS), "--draws", "200", "--concurrency", "32", "--out", "run",
            *(["--grader", "rubric", "--judge", f"{base}#judge"] if turn % 6 == 5 else ["--grader", "lexicon"]),
        ]  # fmt: skip
        env = {"EVENHAND_API_KEY": key, "EVENHAND_CACHE": "" if turn % 4 == 3 else "cache.sqlite"}
        told, wrong = [], ""
        for attempt in range(6):
            again = ["--resume"] if (folder / "run" / "manifest.json").exists() else []
            done = zygote.run([*argv, *again], folder, env=env, limit=240.0, options=_QUICK)
            told.append(f"attempt {attempt}: exit {done.code}, {done.seconds:.1f} s, {done.memory:.0f} MiB")
            wrong = judged(done, folder, secrets, counts)
            if wrong or done.code != 2:
                break
            server.terminal = 0
        wrong = wrong or accounted(folder, asked, done, counts)
        if not wrong:
            server.calm = True
            done = zygote.run([*argv, "--resume"], folder, env=env, limit=240.0, options=_QUICK)
            told.append(f"calm: exit {done.code}")
            wrong = judged(done, folder, secrets, counts) or accounted(folder, asked, done, counts)
        counts.tried = server.faulty
        kinds.update(server.kinds)
        if wrong:
            odd = ", ".join(f"{kind} x{count}" for kind, count in server.kinds.most_common())
            text = f"{as_command(argv)}\n" + "\n".join(told) + f"\n\n{wrong}\n\nfaults: {odd}\n\n{done.text[-6000:]}"
            place.fail("wire", wrong.split(":")[0].replace(" ", "-"), f"run {turn}", text, [folder / "run"], most=12)
    counts.clean = counts.tried - min(counts.tried, counts.bad)
    shutil.rmtree(folder, ignore_errors=True)
    return counts


def refused_password(zygote: Zygote, folder: Path, base: str, draw: random.Random, counts: Counts) -> str:
    """What is wrong where a URL holds a user and a password: it must be refused before any request, and not be repeated."""
    password = f"pw{draw.getrandbits(80):020x}"
    argv = ["audit", f"{base.replace('://', f'://user:{password}@')}#m", "--only", "service", "--out", "refused"]
    done = zygote.run(argv, folder, env={}, limit=60.0, options=_QUICK)
    wrong = judged(done, folder, {"password": password}, counts)
    if not wrong and done.code != 2:
        counts.lost += 1
        wrong = f"lost: a password in a URL ended with exit code {done.code}"
    return wrong


def judged(done: Done, folder: Path, secrets: dict[str, str], counts: Counts) -> str:
    """What is wrong with the end of a run: a hang, a traceback, its memory, its exit code, or a secret somewhere."""
    leaks = sorted(
        {f"{what} in {where}" for what, secret in secrets.items() for where in found_in(folder, done, secret)}
    )
    if leaks:
        counts.leaks += 1
    if done.hung:
        counts.hangs += 1
        return "hang: in a run"
    if traceback_in(done.text) or done.code == 70:
        counts.tracebacks += 1
        return f"traceback: exit {done.code}"
    if done.memory > MOST_MEMORY:
        counts.memory += 1
        return f"memory: {done.memory:.0f} MiB"
    if done.code not in DOCUMENTED or (done.code == 2 and "evenhand: " not in done.err):
        counts.lost += 1
        return f"exit code: {done.code}"
    return f"leak: {'; '.join(leaks)}" if leaks else ""


def found_in(folder: Path, done: Done, secret: str) -> list[str]:
    """The files and streams that hold a secret: as it is, escaped for a URL, or within a table or a database."""
    words = {secret.encode(), quote(secret, safe="").encode(), secret[8:].encode()}
    places = [
        name for name, text in (("stdout", done.out), ("stderr", done.err)) if any(w in text.encode() for w in words)
    ]
    for path in folder.rglob("*"):
        if path.is_file() and any(word in data for data in contents(path) for word in words):
            places.append(path.relative_to(folder).as_posix())
    return places


def contents(path: Path) -> list[bytes]:
    """The bytes of a file, and the texts of a compressed table or of a database."""
    found = [path.read_bytes()]
    if path.suffix == ".parquet":
        import polars as pl

        found.append(pl.read_parquet(path).write_ndjson().encode("utf-8", "surrogatepass"))
    if path.suffix == ".sqlite":
        with sqlite3.connect(path) as database:
            names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows: list[Any] = [row for name in names for row in database.execute(f'SELECT * FROM "{name}"')]
        database.close()
        found.append(repr(rows).encode("utf-8", "surrogatepass"))
    return found


def accounted(folder: Path, asked: list[str], done: Done, counts: Counts) -> str:
    """What is wrong with the rows: one is missing, is there twice, has no outcome, or holds another one's answer."""
    import polars as pl

    if done.code == 2:
        counts.lost += 1
        return "lost: the run cannot be finished"
    service = folder / "run" / "service"
    items = pl.read_parquet(service / "items.parquet")
    rows = pl.read_parquet(service / "responses.parquet")
    grades = pl.read_parquet(service / "grades.parquet")
    keys = ["config", "item_id", "repetition"]
    if items.height != len(asked) or rows.height != _ROWS or rows.select(keys).is_duplicated().any():
        counts.lost += 1
        return f"lost: {rows.height} rows of {_ROWS}, {items.height} items of {len(asked)}"
    graded = grades.filter(pl.col("grader") == grades["grader"][0]) if grades.height else grades
    if graded.height != _ROWS or graded.select(keys).is_duplicated().any():
        counts.lost += 1
        return f"lost: {graded.height} grades of {_ROWS}"
    if graded.filter(pl.col("label").is_null() & (pl.col("missing").fill_null("") == "")).height:
        counts.lost += 1
        return "lost: a row has neither a label nor a reason"
    failed = rows.filter(pl.col("error").is_not_null() & (pl.col("error") != ""))
    if failed.filter(pl.col("text").fill_null("") != "").height:
        counts.differing += 1
        return "differing: a failed row has a text"
    prompt = {item: str(chat) for item, chat in items.select("item_id", "chat").iter_rows()}
    for item, text in rows.select("item_id", "text").iter_rows():
        tags = {word for word in (text or "").replace(",", " ").split() if word.startswith("tag") and len(word) == 19}
        own = next((tag_of(line) for line in asked if line in prompt[item]), "")
        if tags - {own}:
            counts.differing += 1
            return f"differing: the row of {item} holds another one's answer"
    return ""
