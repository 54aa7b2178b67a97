"""Tokens to text as they come: no character is cut in two, and no part of a stop string goes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one growing row of tokens.

    Parameters
    ----------
    decode : token ids to text, special tokens left out.
    stops : strings that end the text; they are not part of it.
    context : tokens before the first, where the text continues another (a prefill, a raw prompt): some tokenizers
        decode the first token of a text otherwise than the same token within one.

    What `add` and `finish` return, joined, is the text of all tokens up to the first stop string. Both streamed and whole
    answers are made by it, so that they are the same.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = (), context: Sequence[int] = ()):
        self._decode, self._stops = decode, tuple(stops)
        self._tokens = list(context)
        self._from, self._upto = 0, len(self._tokens)
        self._held = ""
        self.sent = 0
        """Characters that have gone out."""
        self.stopped = False
        """Whether a stop string was found: nothing may be added any more."""

    @property
    def seen(self) -> int:
        """Characters of whole text so far, held back or not: where the next token begins."""
        return self.sent + len(self._held)

    def add(self, token: int) -> str:
        """Take the next token; returns the text that may go out now."""
        self._tokens.append(token)
        new = self._new()
        if not new or new.endswith(_BROKEN):  # perhaps a part of a character
            return ""
        self._from, self._upto = self._upto, len(self._tokens)
        return self._pass(new, last=False)

    def finish(self) -> str:
        """The rest of the text, now that no token follows."""
        return "" if self.stopped else self._pass(self._new(), last=True)

    def _new(self) -> str:
        """Text of the tokens that are not settled yet; earlier ones are decoded with them, for the spaces between."""
        before = self._decode(self._tokens[self._from : self._upto])
        return self._decode(self._tokens[self._from :])[len(before) :]

    def _pass(self, new: str, *, last: bool) -> str:
        text = self._held + new
        if found := [at for stop in self._stops if (at := text.find(stop)) >= 0]:
            self.stopped, self._held, out = True, "", text[: min(found)]
        else:
            keep = 0 if last else self._beginning(text)
            out, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self.sent += len(out)
        return out

    def _beginning(self, text: str) -> int:
        """Length of the longest end of ``text`` with which a stop string begins."""
        longest = min(len(text), max(map(len, self._stops), default=1) - 1)
        ends = (size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in self._stops))
        return next(ends, 0)


class TokenNames:
    """Each token's own text and bytes, as log-probabilities name it."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._added = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
        self._letters = _byte_letters() if _is_byte_level(tokenizer) else None
        self._known: dict[int, tuple[str, bytes | None]] = {}

    def text(self, token: int) -> str:
        """The token's text; a part of a character is written ``bytes:\\xe2\\x80``."""
        return self._find(token)[0]

    def raw(self, token: int) -> list[int] | None:
        """The token's bytes, None where the tokenizer does not tell them."""
        found = self._find(token)[1]
        return None if found is None else list(found)

    def _find(self, token: int) -> tuple[str, bytes | None]:
        if token not in self._known:
            self._known[token] = self._look_up(token)
        return self._known[token]

    def _look_up(self, token: int) -> tuple[str, bytes | None]:
        if token in self._added:
            return self._added[token], self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # beyond the tokenizer
            return f"<|{token}|>", None
        raw = self._bytes(piece)
        if raw is None:
            text = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
            return text, None if _BROKEN in text else text.encode()
        try:
            return raw.decode(), raw
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw), raw

    def _bytes(self, piece: str) -> bytes | None:
        if self._letters is not None:
            if all(letter in self._letters for letter in piece):
                return bytes(self._letters[letter] for letter in piece)
            return None
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode() if piece.startswith("▁") else None


def _is_byte_level(tokenizer: Any) -> bool:
    core = getattr(tokenizer, "backend_tokenizer", None)
    decoder = None if core is None else core.decoder
    if decoder is None:
        return False
    state = json.loads(decoder.__getstate__())
    return any(part.get("type") == "ByteLevel" for part in (state, *state.get("decoders", ())))


def _byte_letters() -> dict[str, int]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
