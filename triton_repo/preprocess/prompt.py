"""From what a client sends to the token ids that the engine takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest
from triton_repo.preprocess.chat_template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as the client gave it: exactly one of text, chat JSON and token ids."""

    text: bytes | None = None
    chat: bytes | None = None
    token_ids: Sequence[int] | None = None
    stop_words: Sequence[bytes] = ()


class PromptEncoder:
    """Renders and tokenizes prompts of one engine, and refuses those that leave no room for an answer."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None, max_seq_len: int) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._max_seq_len = max_seq_len
        # No text of more bytes than this fits, whatever its tokens: longer ones are not even tokenized.
        longest_token = max(len(text.encode()) for text in tokenizer.get_vocab(with_added_tokens=True))
        self._max_bytes = max_seq_len * longest_token

    @classmethod
    def load(cls, tokenizer_directory: Path, max_seq_len: int) -> PromptEncoder:
        tokenizer = Tokenizer.from_file(str(tokenizer_directory / "tokenizer.json"))
        return cls(tokenizer, ChatTemplate.load(tokenizer_directory), max_seq_len)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of the prompt.

        Raises:
            InvalidRequest: not exactly one prompt, no text in it, or one that the chat template refuses.
            ContextLengthExceeded: the prompt fills `max_seq_len`.
        """
        given = [prompt.text is not None, prompt.chat is not None, prompt.token_ids is not None]
        if sum(given) != 1:
            raise InvalidRequest("send exactly one of text_input, chat and prompt_token_ids", "text_input")
        if prompt.chat is not None:
            ids, param = self._encode_chat(prompt.chat), "messages"
        elif prompt.text is not None:
            ids, param = self._tokenize(_utf8(prompt.text, "prompt"), "prompt", add_special_tokens=True), "prompt"
        else:
            ids, param = list(prompt.token_ids or ()), "prompt"
        if not ids:
            raise InvalidRequest(f"{param}: the prompt is empty", param)
        self._check_room(len(ids), param)
        return ids

    def stop_sequences(self, stop_words: Sequence[bytes]) -> list[list[int]]:
        """Each stop word's tokens, tokenized alone as NVIDIA's preprocessing does; empty words are no words.

        A word that the model spells with other tokens in context is missed here: a client that must not miss one
        matches text, as the gateway does.
        """
        words = [_utf8(word, "stop_words") for word in stop_words if word]
        return [self._tokenizer.encode(word, add_special_tokens=False).ids for word in words]

    def _encode_chat(self, chat: bytes) -> list[int]:
        if self._template is None:
            raise InvalidRequest("messages: this model has no chat template; use /v1/completions", "messages")
        try:
            fields: Any = json.loads(chat)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"chat: not valid JSON: {error}", "messages") from error
        if not isinstance(fields, dict):
            raise InvalidRequest("chat: a JSON object is required", "messages")
        text = self._template.render(fields, max_characters=self._max_bytes)
        # The template has written every special token that the prompt needs.
        return self._tokenize(text, "messages", add_special_tokens=False)

    def _tokenize(self, text: str, param: str, *, add_special_tokens: bool) -> list[int]:
        num_bytes = _num_bytes(text, param)
        if num_bytes > self._max_bytes:
            raise ContextLengthExceeded(
                f"{param}: {num_bytes} bytes of text cannot fit into the model's context of {self._max_seq_len} tokens",
                param,
            )
        # "fast" leaves out the offsets, which nobody asks for: a third of the time.
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return list(encoding.ids)

    def _check_room(self, num_tokens: int, param: str) -> None:
        if num_tokens >= self._max_seq_len:
            raise ContextLengthExceeded(
                f"{param}: this model's maximum context length is {self._max_seq_len} tokens, the prompt has "
                f"{num_tokens}, which leaves no room for an answer",
                param,
            )


def _num_bytes(text: str, param: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair; no tokenizer takes it
        raise InvalidRequest(f"{param}: not valid Unicode at character {error.start}", param) from error


def _utf8(text: bytes, param: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{param}: not valid UTF-8 at byte {error.start}", param) from error
