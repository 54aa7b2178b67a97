"""A run folder: manifest, and for each audit a journal and its tables; then findings and report.

One process at a time writes a folder, by a lock of the operating system. The lock ends with its process, so a killed run leaves
none behind.
"""

from __future__ import annotations

import inspect
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xxhash import xxh128_hexdigest

from evenhand.config import nested_plan
from evenhand.errors import BadInput
from evenhand.files import is_leftover, read_sealed_json, remove_leftovers, write_json
from evenhand.redact import hide_environment, hide_urls, public, redact_values
from evenhand.runs.check import CHECKSUMS, MANIFEST_SCHEMA, check_findings, check_manifest, no_run
from evenhand.runs.journal import Journal, ScoreJournal
from evenhand.seal import altered

if TYPE_CHECKING:
    from filelock import BaseFileLock


_LIBRARIES = ("evenhand", "numpy", "scipy", "polars", "pyarrow", "torch", "transformers", "tokenizers", "httpx")


def library_versions() -> dict[str, str]:
    """Versions of what can change a number; a library that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def input_checksum(path: Path) -> dict[str, str | int]:
    """Name, size in bytes and xxh128 of a file that a run reads."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"The file cannot be read ({error.strerror}).", file=path) from None
    return {"path": str(path), "bytes": len(data), "xxh128": xxh128_hexdigest(data)}


class Run:
    """One folder, written by one process at a time.

    ``manifest["plan"]`` holds all that decides the numbers (config, identities, inputs); a run is resumed only under the
    same plan. Whatever a command puts into the plan, its URLs are written without user information and query, and every text
    without secrets (see `evenhand.redact`). Times are kept apart, under ``created`` and ``timings``. Where a run is resumed with
    other library versions, they are noted under ``resumed_with_versions``: the bytes are then no longer promised to be those
    of an unbroken run.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder = folder
        self.manifest = manifest
        self.results: list[Any] = []
        self._lock: BaseFileLock | None = None
        self._clock = time.monotonic()

    @classmethod
    def start(cls, folder: Path, plan: Mapping[str, Any], *, resume: bool) -> Run:
        """Make the folder, or with ``resume`` continue the run that it holds.

        Raises BadInput if the folder already holds a run and ``resume`` is off, if the plans differ (every difference is
        named), or if another process is writing the run.
        """
        hide_environment()
        hide_urls(plan)
        plan = _written(json.loads(json.dumps(plan)))
        path = folder / "manifest.json"
        if path.exists():
            run = cls.open(folder)
            if not resume:
                raise BadInput(
                    "The folder already holds a run.", file=folder, do="Give --resume to continue it, or another --out."
                )
            changed = _differences(nested_plan(_written(run.manifest["plan"]), plan), plan)
            if changed:
                raise BadInput(
                    "The run was started with other settings: " + "; ".join(changed[:6]) + ".",
                    file=folder,
                    do="Repeat the first command with --resume, or choose another --out.",
                )
            run._hold()
            remove_leftovers(folder)
            if library_versions() != run.manifest["versions"]:
                run.manifest.setdefault("resumed_with_versions", []).append(library_versions())
            run.manifest["state"] = "started"
            run.manifest.pop("tables", None)
            run.save()
            return run
        if folder.exists() and not folder.is_dir():
            raise BadInput("This is a file, not a folder.", file=folder, do="Choose another --out.")
        if folder.exists() and not _is_fresh(folder):
            raise BadInput("The folder is not empty and holds no run.", file=folder, do="Choose another --out.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"The folder cannot be created ({error.strerror}).", file=folder, do="Choose another --out."
            ) from None
        run = cls(
            folder,
            {
                "schema": MANIFEST_SCHEMA,
                CHECKSUMS: "xxh128",
                "plan": plan,
                "versions": library_versions(),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "state": "started",
                "timings": {},
                "audits": {},
            },
        )
        run._hold()
        if path.exists():  # another process began and ended here meanwhile
            run.release()
            raise BadInput("The folder already holds a run.", file=folder, do="Choose another --out.")
        remove_leftovers(folder)
        run.save()
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run that exists.

        Raises BadInput, naming the file, where the folder holds none, and where the manifest is damaged or was edited.
        """
        path = folder / "manifest.json"
        try:
            there = path.exists()
        except OSError as error:
            raise BadInput(f"The folder cannot be read ({error.strerror}).", file=folder) from None
        if not there:
            raise no_run(folder)
        found, sealed = read_sealed_json(path)
        manifest = check_manifest(found, path)
        if CHECKSUMS in manifest and not sealed:
            raise altered(path)
        return cls(folder, manifest)

    @property
    def has_checksums(self) -> bool:
        """Whether manifest, findings and tables carry checksums; a run of an older version is read unchecked."""
        return CHECKSUMS in self.manifest

    @property
    def audits(self) -> list[str]:
        """The audits of the plan, in their order, then those that checked its result (of a TSDI repair)."""
        return list(dict.fromkeys([*self.manifest["plan"].get("audits", ()), *self.manifest["audits"]]))

    @property
    def first_audit(self) -> str:
        """The audit that the run is about. Raises BadInput where the manifest names none."""
        if not self.audits:
            raise BadInput("The manifest names no audit.", file=self.folder / "manifest.json")
        return self.audits[0]

    def _hold(self) -> None:
        self._lock = hold(self.folder)

    def release(self) -> None:
        """Let another process write the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def save(self) -> None:
        """Write the manifest."""
        write_json(self.folder / "manifest.json", _written(self.manifest))

    def journal(self, audit: str, stage: str = "responses") -> Journal:
        """The journal of one stage of one audit."""
        return Journal(self.folder / audit / f"{stage}.journal.jsonl")

    def score_journal(self, audit: str, stage: str = "scores") -> ScoreJournal:
        """The journal of one stage of one audit that scores texts."""
        return ScoreJournal(self.folder / audit / f"{stage}.journal.jsonl")

    def table(self, audit: str, name: str) -> Path:
        """Path of a table of an audit."""
        return self.folder / audit / f"{name}.parquet"

    @property
    def findings_path(self) -> Path:
        """Path of the findings of every audit."""
        return self.folder / "findings.json"

    def check_tables(self, audit: str) -> None:
        """Raises BadInput, naming the file, where a table that an audit had when the run ended is missing."""
        for name in self.manifest.get("tables", ()):
            if name.startswith(f"{audit}/") and not (self.folder / name).is_file():
                raise BadInput("The table is missing.", file=self.folder / name, do="Restore it from a copy.")

    def start_clock(self) -> None:
        """Count the time of the next result from now, not from the start of the run or the result before."""
        self._clock = time.monotonic()

    def note(self, audit: str, facts: Mapping[str, Any]) -> None:
        """Save the facts of an audit in the manifest, and its time in seconds since the clock was started."""
        self.manifest["timings"][audit] = round(time.monotonic() - self._clock, 3)
        self.manifest["audits"][audit] = dict(facts)
        self.save()
        self.start_clock()

    def record(self, result: Any) -> None:
        """Keep an `evenhand.runs.method.AuditResult` for the findings; note its time, counts and facts in the manifest."""
        self.results.append(result)
        self.note(result.audit, {"rows": result.rows, "missing": result.missing, **result.facts})

    def finish(self) -> None:
        """Write the findings of the recorded results, where there are any, and mark the run as done."""
        if self.results:
            self.write_findings({result.audit: result for result in self.results})
            tables = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.parquet"))
            self.manifest["tables"] = tables
        self.manifest["state"] = "done"
        self.save()

    def write_findings(self, audits: Mapping[str, Any]) -> None:
        """Write ``findings.json``; its JSON schema is shipped as ``runs/findings.schema.json``."""
        write_json(self.findings_path, _written({"schema": MANIFEST_SCHEMA, "audits": _plain(audits)}))

    def read_findings(self) -> dict[str, Any]:
        """The findings of every audit, as plain values.

        Raises BadInput, naming the file, where the run has no findings yet, or never will, and where they are damaged.
        """
        path = self.findings_path
        if not path.exists():
            if self.manifest["state"] != "done":
                raise BadInput("The run is not finished.", file=self.folder, do="Finish it with --resume.")
            if self.manifest["plan"].get("audits") == ["corpus"]:
                raise BadInput(
                    "The run is a corpus build, which has no findings.", file=self.folder,
                    do="Open corpus/card.md, or compare thresholds with `evenhand corpus sweep`.",
                )  # fmt: skip
        found, sealed = read_sealed_json(path)
        if self.has_checksums and not sealed:
            raise altered(path)
        return check_findings(found, path)


def _is_fresh(folder: Path) -> bool:
    """Whether a folder holds nothing but the inputs of a run (``inputs/``, written first) and what a killed process leaves."""
    return all(path.name in (LOCK_NAME, "inputs") or is_leftover(path) for path in folder.iterdir())


def _written(value: Any) -> Any:
    """Plain values as they are written to a file: URLs without user information and query, texts without secrets."""
    return redact_values(public(value))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(part) for key, part in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found: list[str] = []
        for key in sorted(before.keys() | now.keys()):
            found += _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if before == now else [f"{path} was {before!r} and is now {now!r}"]


LOCK_NAME = ".lock"


def hold(folder: Path) -> BaseFileLock:
    """Lock a folder without waiting; ``release()`` of what is returned ends the lock, and so does the end of the process.

    The lock is ``flock`` on POSIX and ``msvcrt.locking`` on Windows, on the file ``.lock``, which may stay behind. Raises
    BadInput where another process holds it, where the file cannot be written, or where the file system has no such locks.
    """
    from filelock import FileLock, Timeout

    # Newer versions fall back to a marker file, which a killed process would leave behind; an error is better.
    choices: dict[str, Any] = {"fallback_to_soft": False}
    parameters = inspect.signature(FileLock.__init__).parameters
    lock = FileLock(
        folder / LOCK_NAME,
        timeout=0,
        thread_local=False,
        **{name: value for name, value in choices.items() if name in parameters},
    )
    try:
        lock.acquire()
    except Timeout:
        raise BadInput("Another process is writing this run.", file=folder, do="Wait for it to end.") from None
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"The folder cannot be locked ({why}).",
            file=folder,
            do="Choose an --out that you may write to, on a file system that has file locks.",
        ) from None
    return lock
