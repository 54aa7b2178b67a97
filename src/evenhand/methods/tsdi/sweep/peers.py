"""What TSDI is compared with in its sweep (specification, section 11): four simple ways to make a model refuse less.

Each is an engine that only generates. A peer of strength 0 is the plain model, to the bit. Wordings and strengths are ours;
nothing here reproduces published numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from evenhand.engines.base import Engine
from evenhand.engines.cache import CachedEngine
from evenhand.engines.local import LocalEngine
from evenhand.errors import BadInput
from evenhand.methods.tsdi.sweep.peer_engine import PeerEngine, PeerName

PEERS: Mapping[str, str] = {
    "static": "the same bias against the refusal openers' first tokens at every position; strength in nats",
    "system_prompt": "a system prompt that asks for answers, before chats that have none; strength 1 (0 leaves it out)",
    "self_cd": "logits minus a times what a safety-stressing system prompt adds (Self-CD, arXiv 2401.17633); strength a",
    "interpolation": "(1 - w) log-probabilities of the model + w of the reference; strength w, 0 to 1",
}
"""Name to what it does."""
_LONGEST_PROMPT = 100_000


def read_prompt(path: Path) -> str:
    """A system prompt from a UTF-8 text file, without white space around it. Raises BadInput where there is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
    except OSError as error:
        raise BadInput(f"The system prompt cannot be read ({error.strerror}).", file=path) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"The system prompt is not UTF-8 text ({error}).", file=path, do="Save it as UTF-8.") from error
    if not text or len(text) > _LONGEST_PROMPT:
        what = f"has {len(text):,} characters, the most is {_LONGEST_PROMPT:,}" if text else "is empty"
        raise BadInput(f"The system prompt {what}.", file=path)
    return text


def open_peer(
    name: str, aligned: Engine, *, strength: float, reference: Engine | None = None, prompt: str | Path | None = None
) -> Engine:
    """The engine of one peer, in the weights of ``aligned``.

    Parameters
    ----------
    name : one of `PEERS`.
    aligned : a local engine without ``+tsdi``; one with a request cache gives a peer with the same cache.
    strength : how much of it, at least 0; what it means and its range are in `PEERS`.
    reference : the local model to interpolate with, of the same vocabulary; for interpolation alone.
    prompt : the system prompt, or a text file that holds it, in place of our own wording; for system_prompt and self_cd.

    Raises BadInput for another name, an engine that is not local or is corrected already, a strength that is not finite or
    out of range, another vocabulary, and arguments that the peer does not use.
    """
    if name not in PEERS:
        raise BadInput(f"There is no peer '{name}'.", do=f"Known: {', '.join(PEERS)}.")
    if isinstance(aligned, CachedEngine):
        peer = open_peer(name, aligned.engine, strength=strength, reference=reference, prompt=prompt)
        return CachedEngine(peer, aligned.path)
    inner = reference.engine if isinstance(reference, CachedEngine) else reference
    local = _uncorrected(aligned, name)
    _check_strength(name, strength)
    if prompt is not None and name not in ("system_prompt", "self_cd"):
        raise BadInput(f"The peer {name} has no system prompt.", do="Leave it out.")
    if (inner is not None) != (name == "interpolation"):
        needs = "needs a reference model" if inner is None else "has no use for a reference model"
        raise BadInput(f"The peer {name} {needs}.")
    other = _of_one_vocabulary(local, _uncorrected(inner, name)) if inner is not None else None
    text = read_prompt(prompt) if isinstance(prompt, Path) else prompt
    if text is not None and not text.strip():
        raise BadInput("The system prompt is empty.")
    kind: PeerName = next(known for known in get_args(PeerName) if known == name)
    return PeerEngine(kind, local, float(strength), other, text)


def _uncorrected(engine: Engine, name: str) -> LocalEngine:
    if not isinstance(engine, LocalEngine):
        raise BadInput(
            f"{engine.spec} is no local model: the peer {name} needs its logits.",
            do="Give organism/NAME or hf/ID-or-FOLDER.",
        )
    if isinstance(engine, PeerEngine) or engine.correction is not None:
        raise BadInput(
            f"{engine.spec} is corrected already: peers are compared with TSDI, not put on top of it.",
            do="Give the model without +tsdi.",
        )
    return engine


def _check_strength(name: str, strength: float) -> None:
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not math.isfinite(strength) or strength < 0:
        raise BadInput(f"The strength {strength} of the peer {name} is not a finite number of at least 0.")
    if name == "interpolation" and strength > 1:
        raise BadInput(f"The weight {strength:g} is above 1.", do="0 is the model, 1 the reference.")
    if name == "system_prompt" and strength not in (0, 1):
        raise BadInput(f"A system prompt has no strength {strength:g}.", do="Give 1, or 0 to leave it out.")


def _of_one_vocabulary(aligned: LocalEngine, reference: LocalEngine) -> LocalEngine:
    """The reference. Raises BadInput, naming both, where a token's id does not mean the same in both models."""
    ours, theirs = aligned.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
    if ours != theirs:
        apart = len(set(ours.items()) ^ set(theirs.items()))
        raise BadInput(
            f"{aligned.spec} and {reference.spec} have different vocabularies ({len(ours):,} and {len(theirs):,} tokens, "
            f"{apart:,} entries apart): their next-token probabilities cannot be mixed.",
            do="Give the model that it was tuned from.",
        )
    return reference
