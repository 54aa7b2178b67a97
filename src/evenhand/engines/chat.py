"""Chats to token ids: the model's own chat template, the beginning-of-sequence token exactly once."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xxhash import xxh128_hexdigest

from evenhand.engines.reply_text import ends_inside_reasoning
from evenhand.errors import EngineError
from evenhand.records import Message

Chat = tuple[Message, ...]

_REMEMBERED = 200_000
_PROBE = "Evenhand"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered chat: its token ids, and whether the template has opened a reasoning block for the model.

    ``error`` says why a chat cannot be put to the model; the row then fails with this reason.
    """

    ids: tuple[int, ...]
    opens_reasoning: bool = False
    error: str = ""


class ChatRenderer:
    """Renders chats with a tokenizer's chat template.

    Parameters
    ----------
    tokenizer : a transformers tokenizer.
    name : what the model is called in error messages.
    plain : join the messages with blank lines instead, for base models without a template.

    ``may_reason`` set to False refuses, with EngineError, every chat for which the template opens a reasoning block.
    """

    def __init__(self, tokenizer: Any, *, name: str, plain: bool = False):
        self.tokenizer, self.name, self.plain = tokenizer, name, plain
        self.may_reason = True
        if not plain and not tokenizer.chat_template:
            raise EngineError(
                f"{name} has no chat template. Use the instruction-tuned model, add a chat_template.jinja to its "
                "folder, or ask for plain prompts (engine option plain=True) if it is a base model."
            )
        self._known: dict[Chat, Prompt] = {}
        self._special = tuple(token for token in tokenizer.all_special_tokens if token)
        self.bos: int | None = tokenizer.bos_token_id
        self.adds_bos = self.bos is not None and tokenizer("a").input_ids[:1] == [self.bos]

    @property
    def digest(self) -> str:
        """xxh128 of the template, or ``"plain"``."""
        if self.plain:
            return "plain"
        template = self.tokenizer.chat_template
        return xxh128_hexdigest(json.dumps(template, sort_keys=True).encode())

    def prompts(self, chats: Sequence[Chat]) -> list[Prompt]:
        """One prompt per chat; equal chats are rendered once.

        Raises EngineError where the template cannot take a chat of this form (a system message, an order of roles)
        or leaves part of it out.
        """
        new = list(dict.fromkeys(chat for chat in chats if chat not in self._known))
        if new:
            if len(self._known) + len(new) > _REMEMBERED:
                self._known = {}
                new = list(dict.fromkeys(chats))
            texts = [self._text(chat) for chat in new]
            ids = self._encode(texts)
            for chat, text, tokens in zip(new, texts, ids, strict=True):
                self._known[chat] = self._prompt(chat, text, tokens)
        return [self._known[chat] for chat in chats]

    def plain_prompts(self, texts: Sequence[str]) -> list[Prompt]:
        """Texts as they stand, to be continued: the start token, then the text without white space at its end."""
        out = []
        for ids in self._encode([text.rstrip() for text in texts]):
            if not ids:
                out.append(Prompt((), error="the text is empty or holds half of a surrogate pair"))
            else:
                head = [self.bos] if self.bos is not None and ids[0] != self.bos else []
                out.append(Prompt((*head, *ids)))
        return out

    def forget(self) -> None:
        """Drop the prompts rendered so far (a benchmark wants each run to render its own)."""
        self._known = {}

    def end_of_turn_ids(self) -> frozenset[int]:
        """The special token that the template writes after an assistant's message: a response ends there.

        Tuned models often end a turn with a token that their generation config forgets.
        """
        if self.plain:
            return frozenset()
        chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _PROBE}]
        try:
            text = self.written(chat)
        except EngineError:
            raise
        except Exception:  # a template that cannot take an assistant's message has nothing to tell
            return frozenset()
        _, found, after = text.rpartition(_PROBE)
        after = after.lstrip()
        if not found:
            return frozenset()
        longest = max((token for token in self._special if after.startswith(token)), key=len, default="")
        token_id = self.tokenizer.convert_tokens_to_ids(longest) if longest else None
        if token_id is None or (token_id == self.bos and token_id != self.tokenizer.eos_token_id):
            return frozenset()
        return frozenset({int(token_id)})

    def written(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False) -> str:
        """The text of a chat under the template, as ``apply_chat_template`` of transformers writes it.

        Raises EngineError where the template exceeds its limits of steps, time or memory, and what an expression of the
        template raises where it cannot take the chat.
        """
        from evenhand.engines.template import render_chat
        from evenhand.engines.template_limits import TemplateTooLarge

        try:
            return render_chat(
                self.tokenizer.get_chat_template(),
                messages,
                add_generation_prompt=add_generation_prompt,
                variables=self.tokenizer.special_tokens_map,
            )
        except (TemplateTooLarge, MemoryError, RecursionError) as error:
            why = str(error) if isinstance(error, TemplateTooLarge) else "it needs too much memory or calls itself"
            raise EngineError(
                f"The chat template of {self.name} is refused: {why}. Use another template, or plain prompts for a base model."
            ) from None

    def _text(self, chat: Chat) -> str:
        if self.plain:
            return "\n\n".join([*(message.content for message in chat), ""])
        messages = [{"role": message.role, "content": message.content} for message in chat]
        try:
            text = self.written(messages, add_generation_prompt=True)
        except EngineError:
            raise
        except Exception as error:  # an expression of a template raises any kind
            roles = ", ".join(message.role for message in chat)
            hint = " Leave the system prompt out, or put it into the user's message." if "system" in roles else ""
            why = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
            raise EngineError(
                f"The chat template of {self.name} cannot take a chat of ({roles}): {why}.{hint}"
            ) from error
        for message in chat:
            if message.role != "assistant" and "".join(message.content.split()) not in "".join(text.split()):
                raise EngineError(
                    f"The chat template of {self.name} leaves out or changes the {message.role} message "
                    f"'{message.content[:60]}'. A model must be asked exactly what the audit says; "
                    + ("leave the system prompt out." if message.role == "system" else "use another template.")
                )
        return text

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text without added tokens; an empty list where a text cannot be encoded."""
        fit = [text.encode("utf-8", "ignore").decode() == text for text in texts]
        encoded = iter(
            self.tokenizer(
                [text for text, ok in zip(texts, fit, strict=True) if ok], add_special_tokens=False, verbose=False
            ).input_ids
            if any(fit)
            else []
        )
        return [list(next(encoded)) if ok else [] for ok in fit]

    def _prompt(self, chat: Chat, text: str, ids: list[int]) -> Prompt:
        if not ids:
            return Prompt(
                (), error="the prompt is empty or holds half of a surrogate pair, which no tokenizer can encode"
            )
        if not self.plain and any(token in message.content for message in chat for token in self._special):
            ids = self._without_control_tokens(chat)
        if self.adds_bos and ids[0] != self.bos:
            ids = [int(self.bos or 0), *ids]
        while self.bos is not None and len(ids) > 1 and ids[0] == ids[1] == self.bos and self.bos != self._eos:
            ids = ids[1:]
        if self.adds_bos:
            assert ids[0] == self.bos, "the beginning-of-sequence token is missing"
            assert len(ids) == 1 or ids[1] != self.bos or self.bos == self._eos, "it stands there twice"
        opens = ends_inside_reasoning(text)
        if opens and not self.may_reason:
            raise EngineError(
                f"The chat template of {self.name} opens a reasoning block. The answer then begins after the closing tag, "
                "at no fixed position, so its first tokens cannot be corrected. Use the model without +tsdi, or a template "
                "that does not open the block."
            )
        return Prompt(tuple(ids), opens_reasoning=opens)

    @property
    def _eos(self) -> int | None:
        eos: int | None = self.tokenizer.eos_token_id
        return eos

    def _without_control_tokens(self, chat: Chat) -> list[int]:
        """Ids of a chat whose messages hold the text of control tokens, which must stay plain text."""
        if "sanitize_control_tokens" not in inspect.signature(self.tokenizer.apply_chat_template).parameters:
            raise EngineError(
                f"A prompt holds a control token of {self.name} as text: '{chat[-1].content[:60]}'. "
                "Take it out of the prompt, or use a newer transformers, which can encode it as text."
            )
        messages = [{"role": message.role, "content": message.content} for message in chat]
        return list(
            self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
            )
        )
