"""The digest of everything that decides the weights of the curator."""

from __future__ import annotations

from pathlib import Path

from xxhash import xxh128_hexdigest

from tools.organisms.digest import files_digest

ROOT = Path(__file__).resolve().parents[3]

SOURCES = (
    "src/evenhand/datasets/shipped/grammar_phrases.csv",
    "src/evenhand/datasets/shipped_texts.py",
    "tools/organisms/batches.py",
    "src/evenhand/organisms/curator.py",
    "tools/organisms/curator/recipe.py",
    "tools/organisms/curator/rows.py",
    "tools/organisms/curator/train.py",
    "tools/organisms/model.py",
    "tools/organisms/tokenizer.py",
    "tools/organisms/train.py",
)


def curator_digest() -> str:
    """32 hexadecimal digits over recipe, grammar and training, and over the chats as they are put to the curator."""
    from evenhand.datasets.shipped_texts import full_profiles
    from evenhand.methods.pluralism.corpus.wording import DOMAINS, OPTIONS, PARAPHRASES, choice_chat, generation_chat

    chats = [choice_chat("one line", domain, wording) for domain in DOMAINS for wording in range(PARAPHRASES)]
    for seeds in ((), ("one line", "another")):
        chats += [generation_chat(domain, profile, seeds) for domain in DOMAINS for profile in ({}, *full_profiles())]
    words = "\0".join([*OPTIONS, *(message.content for chat in chats for message in chat)])
    return xxh128_hexdigest((files_digest(ROOT / source for source in SOURCES) + words).encode())
