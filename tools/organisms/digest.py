"""The digest of everything that decides the weights of the organisms: recipe, grammar and data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xxhash import xxh128

ROOT = Path(__file__).resolve().parents[2]

SOURCES = (
    "tools/organisms/batches.py",
    "tools/organisms/enumeration.py",
    "src/evenhand/organisms/grammar.py",
    "tools/organisms/model.py",
    "src/evenhand/organisms/planted.py",
    "tools/organisms/recipe.py",
    "tools/organisms/shift.py",
    "tools/organisms/tokenizer.py",
    "tools/organisms/train.py",
    "src/evenhand/datasets/question_texts.py",
    "src/evenhand/datasets/shipped_cases.py",
    "src/evenhand/datasets/shipped_texts.py",
    "src/evenhand/datasets/shipped/fills.csv",
    "src/evenhand/datasets/shipped/names.csv",
    "src/evenhand/datasets/shipped/pair_frames.csv",
    "src/evenhand/datasets/shipped/pair_groups.csv",
    "src/evenhand/datasets/shipped/pair_predicates.csv",
    "src/evenhand/datasets/shipped/pronoun_frames.csv",
    "src/evenhand/datasets/shipped/pronoun_names.csv",
    "src/evenhand/datasets/shipped/pronoun_sets.csv",
    "src/evenhand/datasets/shipped/stems.csv",
)


def sources_digest() -> str:
    """32 hexadecimal digits over everything that decides the weights: recipe, grammar and data. Line ends do not
    count.
    """
    sections = sorted((ROOT / "src" / "evenhand" / "organisms" / "sections").glob("*.py"))
    return files_digest([*(ROOT / source for source in SOURCES), *sections])


def files_digest(paths: Iterable[Path]) -> str:
    """32 hexadecimal digits over files of the repository and their places in it. Line ends do not count."""
    digest = xxh128()
    for path in paths:
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
