"""What the engines of a run observe, kept on the disk from the moment it is known until the manifest holds it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from evenhand.engines.base import Engine
from evenhand.engines.ticks import merged_facts, on_new_facts
from evenhand.errors import BadInput
from evenhand.files import read_json, write_json
from evenhand.runs.run import Run

_FILE = "observed.json"
_LOG = logging.getLogger(__name__)


class Observations:
    """The facts of every engine of a run, by role.

    An engine's facts (system fingerprints, traits of the echo, how texts were packed) come with the rows that it computes. A
    resumed run takes those rows from its journals and would not see the facts again. They are therefore written to
    ``observed.json`` in the run folder as soon as an engine has them, before their rows are journaled, and `finish` moves
    them into the manifest.
    """

    def __init__(self, run: Run, engines: Mapping[str, Engine]):
        self._run, self._engines = run, dict(engines)
        self._path = run.folder / _FILE
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = dict(run.manifest.get("observed", {}))
        self._facts = merged_facts(self._facts, self._kept())
        for engine in self._engines.values():
            on_new_facts(engine, self.note)
        self.note()

    def _kept(self) -> dict[str, Any]:
        """What an unfinished process wrote down; nothing, with a warning, where the file was damaged since."""
        if not self._path.exists():
            return {}
        try:
            found = read_json(self._path)
        except BadInput as error:
            _LOG.warning("%s Facts that engines observed before this resumption are lost.", error)
            return {}
        return found if isinstance(found, dict) else {}

    def note(self) -> None:
        """Write down what is new since the last time."""
        with self._lock:
            now = {role: dict(getattr(engine, "observed", dict)()) for role, engine in self._engines.items()}
            facts = merged_facts(self._facts, {role: facts for role, facts in now.items() if facts})
            if facts != self._facts:
                self._facts = facts
                write_json(self._path, facts)

    def to_manifest(self) -> None:
        """Put the facts into the manifest, to be saved with it."""
        self.note()
        if self._facts:
            self._run.manifest["observed"] = self._facts

    def finish(self) -> None:
        """Remove the file: the manifest, now saved, holds the facts."""
        self._path.unlink(missing_ok=True)
