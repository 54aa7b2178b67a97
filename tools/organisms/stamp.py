"""Renew the stamps of the shipped truth after an edit that changes neither weights nor data.

    python -m tools.organisms.stamp

The truth of the organisms names a digest of the sources that decide it (`digest`). Renaming a function or wording a docstring
changes those sources but not what they compute. Whoever runs this states that; a change of the recipe needs `make organisms`.
"""

from __future__ import annotations

import json
from pathlib import Path

from evenhand.seal import write_checksums
from tools.organisms.curator.digest import curator_digest
from tools.organisms.digest import ROOT, sources_digest

WEIGHTS = ROOT / "src" / "evenhand" / "organisms" / "weights"


def renew(path: Path, digest: str) -> bool:
    """Write a digest into a truth file. Returns whether the file held another one."""
    text = path.read_text(encoding="utf-8")
    held = json.loads(text)["sources"]
    path.write_text(text.replace(held, digest), encoding="utf-8", newline="\n")
    return bool(held != digest)


def main() -> None:
    """Renew both stamps, and the checksums of the files that hold them."""
    changed = [renew(WEIGHTS / "truth.json", sources_digest()), renew(WEIGHTS / "truth_curator.json", curator_digest())]
    write_checksums(WEIGHTS, sorted(path.name for path in WEIGHTS.glob("truth*")))
    print("The stamps were renewed." if any(changed) else "The stamps are those of these sources already.")


if __name__ == "__main__":
    main()
