"""A training as a job of its own, so that a launcher such as ``accelerate launch`` can run it in several processes.

accelerate launch --num_processes 4 --use_fsdp --fsdp_version 2 -m evenhand.methods.dart.repair.job OUT
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evenhand.errors import BadInput, EngineError
from evenhand.files import read_json, write_json
from evenhand.methods.dart.repair.rows import TrainingRow
from evenhand.methods.dart.repair.train import TrainPlan, TrainReport, train_adapter
from evenhand.records import Message

FILE = "launch.json"


def launcher_words(launcher: str) -> list[str]:
    """The words of a launcher's command. Raises BadInput where it cannot be read, or its program is not found."""
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise BadInput(f"The launcher '{launcher}' cannot be read: {error}.") from None
    if not words or shutil.which(words[0]) is None:
        raise BadInput(f"The launcher '{launcher}' names no program that is found.", do="Give its whole path.")
    return words


def launch(
    launcher: str,
    model: str | Path,
    rows: Sequence[TrainingRow],
    plan: TrainPlan,
    out: Path,
    *,
    adapter: Path | None = None,
) -> TrainReport:
    """Write the job into ``out``, run it under the launcher's command, and return its report.

    The command is split into words and started without a shell. Raises BadInput for a command that cannot be started,
    EngineError where it ends with an error; what it had finished stays, and the next call goes on.
    """
    words = launcher_words(launcher)
    out.mkdir(parents=True, exist_ok=True)
    job = {
        "model": str(model),
        "rows": [asdict(row) for row in rows],
        "plan": asdict(plan),
        "adapter": str(adapter) if adapter else None,
    }
    write_json(out / FILE, job)
    command = [*words, "-m", "evenhand.methods.dart.repair.job", str(out)]
    done = subprocess.run(command)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(
            f"The training under '{launcher}' ended with exit code {done.returncode}; continue with --resume."
        )
    return train_adapter(model, rows, plan, out, adapter=adapter)


def main(folder: Path) -> TrainReport:
    """Carry out the job that lies in a folder."""
    job = read_json(folder / FILE)
    rows = [TrainingRow(**{**row, "chat": tuple(Message(**turn) for turn in row["chat"])}) for row in job["rows"]]
    plan = TrainPlan(**{**job["plan"], "targets": tuple(job["plan"]["targets"])})
    adapter = Path(job["adapter"]) if job["adapter"] else None
    return train_adapter(job["model"], rows, plan, folder, adapter=adapter)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
