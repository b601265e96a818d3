"""From what a client sends to the token ids that the engine takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from tokenizers import Tokenizer

from triton_repo.bounded_process import Bounds
from triton_repo.contract.engine_config import EncodeSpecialTokens
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, RequestError, UnsupportedParameter
from triton_repo.contract.tensors import ADD_SPECIAL_TOKENS
from triton_repo.preprocess.chat_template import TEMPLATE
from triton_repo.preprocess.client_text import ClientTextTokenizer, Marked, special_tokens
from triton_repo.preprocess.template_processes import BOUNDS, MAX_SLOW, Rendered, TemplateProcesses


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as the client gave it: exactly one of text, chat JSON and token ids.

    `add_special_tokens` says whether the tokenizer adds BOS and the like: by default to text, and never to a chat,
    whose template writes them.
    """

    text: bytes | None = None
    chat: bytes | None = None
    token_ids: Sequence[int] | None = None
    stop_words: Sequence[bytes] = ()
    add_special_tokens: bool | None = None


class Tokenized(NamedTuple):
    """The ids of a prompt, and its text; None for a prompt that came as ids."""

    ids: list[int]
    text: str | None
    param: str  # the client's name of it


class Renderer(Protocol):
    """Of a chat template."""

    def render_all(self, chats: Sequence[bytes], max_characters: int, *, alone: bool = True) -> Sequence[Rendered]: ...

    def close(self) -> None: ...


def max_prompt_bytes(tokenizer: Tokenizer, max_seq_len: int) -> int:
    """No text of more bytes than this fits, whatever its tokens."""
    return max_seq_len * max(len(text.encode()) for text in tokenizer.get_vocab(with_added_tokens=True))


class PromptEncoder:
    """Renders and tokenizes prompts of one engine, and rejects those that leave no room for an answer."""

    def __init__(self, tokenizer: Tokenizer, renderer: Renderer | None, max_seq_len: int) -> None:
        self.tokenizer = tokenizer
        self.renderer = renderer
        self._max_seq_len = max_seq_len
        self._max_bytes = max_prompt_bytes(tokenizer, max_seq_len)  # longer ones are not even tokenized

    @classmethod
    def load(
        cls,
        tokenizer_directory: Path,
        max_seq_len: int,
        bounds: Bounds = BOUNDS,
        max_slow: int = MAX_SLOW,
        encode_special_tokens: EncodeSpecialTokens = "template",
    ) -> PromptEncoder:
        """
        Args:
            bounds: those of the chat template for one prompt, of which `max_slow` may take long at once.
            encode_special_tokens: "template": in a chat those that its template writes; "always": all.
        """
        # Not by its path: that need not be text (surrogates stand for other bytes in the names of files).
        tokenizer = Tokenizer.from_buffer((tokenizer_directory / "tokenizer.json").read_bytes())
        has_template = (tokenizer_directory / TEMPLATE).exists()
        marked = special_tokens(tokenizer) if encode_special_tokens == "template" else ()
        renderer = TemplateProcesses(tokenizer_directory, bounds, max_slow, marked) if has_template else None
        return cls(tokenizer, renderer, max_seq_len)

    def render(self, chats: Sequence[bytes], *, alone: bool = True) -> Sequence[Rendered]:
        """The text or the error of each chat; `alone` as for `TemplateProcesses.render_all`."""
        if self.renderer is None:
            error = InvalidRequest("messages: this model has no chat template; use /v1/completions", "messages")
            return [error] * len(chats)
        return self.renderer.render_all(chats, self._max_bytes, alone=alone)

    def encode(self, prompt: Prompt, rendered: Rendered | None = None, num_last: int | None = None) -> list[int]:
        """Token ids of the prompt, the last `num_last` of them; `rendered` is what `render` made of its chat.

        Raises:
            InvalidRequest: not exactly one prompt, an empty one, or one that the chat template rejects.
            ContextLengthExceeded: the prompt fills `max_seq_len`.
        """
        ids, _, param = self.tokenize(prompt, rendered)
        if not ids:
            raise InvalidRequest(f"{param}: the prompt is empty", param)
        ids = ids if num_last is None else ids[-num_last:]
        self._check_room(len(ids), param)
        return ids

    def tokenize(self, prompt: Prompt, rendered: Rendered | None = None) -> Tokenized:
        """Any number of token ids, as long as their text has no more bytes than any that fits; none for an empty one.

        Raises:
            InvalidRequest: not exactly one prompt, or one that the chat template rejects.
            ContextLengthExceeded: the text is longer.
        """
        given = [prompt.text is not None, prompt.chat is not None, prompt.token_ids is not None]
        if sum(given) != 1:
            raise InvalidRequest("send exactly one of text_input, chat and prompt_token_ids", "text_input")
        if prompt.token_ids is not None:
            return Tokenized(list(prompt.token_ids), None, "prompt")
        if prompt.chat is not None:
            chat = self._text_of_chat(prompt, rendered or self.render([prompt.chat])[0])
            return Tokenized(self._ids_of_chat(chat), chat.plain, "messages")
        text = _utf8(prompt.text or b"", "prompt")
        return Tokenized(self._ids(text, "prompt", prompt.add_special_tokens is not False), text, "prompt")

    def texts(self, tokenized: Tokenized) -> str:
        """`triton_repo.contract.tensors.TOKEN_TEXTS`; of ids the text is that of all of them, special ones included.

        Raises:
            InvalidRequest: the vocabulary lacks one of the ids.
        """
        ids, text, param = tokenized
        pieces = [self.tokenizer.id_to_token(id) if id >= 0 else None for id in ids]
        if None in pieces:
            raise InvalidRequest(f"{param}: the vocabulary has no token {ids[pieces.index(None)]}", param)
        if text is None:  # as a batch: only then other threads go on meanwhile
            (text,) = self.tokenizer.decode_batch([ids], skip_special_tokens=False)
        return json.dumps({"text": text, "pieces": pieces})

    def stop_sequences(self, stop_words: Sequence[bytes]) -> list[list[int]]:
        """Each stop word's tokens, tokenized alone as NVIDIA's preprocessing does; empty words are ignored.

        A stop word that the model writes with other tokens, as it may after other text, does not end the answer: a
        client that needs that matches the text, as the gateway does.
        """
        words = [_utf8(word, "stop_words") for word in stop_words if word]
        return [self.tokenizer.encode(word, add_special_tokens=False).ids for word in words]

    def close(self) -> None:
        if self.renderer is not None:
            self.renderer.close()

    def _text_of_chat(self, prompt: Prompt, rendered: Rendered) -> Marked:
        if prompt.add_special_tokens:
            rule = "the chat template writes the special tokens of a chat"
            raise UnsupportedParameter(f"{ADD_SPECIAL_TOKENS} = true: {rule}", ADD_SPECIAL_TOKENS)
        if isinstance(rendered, RequestError):
            raise rendered
        return rendered

    @cached_property
    def _client_text(self) -> ClientTextTokenizer:
        return ClientTextTokenizer(self.tokenizer)

    def _ids_of_chat(self, prompt: Marked) -> list[int]:
        if not prompt.mark:
            return self._ids(prompt.text, "messages", add_special_tokens=False)
        self._check_size(prompt.plain, "messages")
        return self._client_text.encode(prompt)

    def _ids(self, text: str, param: str, add_special_tokens: bool) -> list[int]:
        self._check_size(text, param)
        # "fast" leaves out the offsets, which nothing needs: a third of the time.
        (encoding,) = self.tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return list(encoding.ids)

    def _check_size(self, text: str, param: str) -> None:
        num_bytes = _num_bytes(text, param)
        if num_bytes > self._max_bytes:
            raise ContextLengthExceeded(
                f"{param}: this model's maximum context length is {self._max_seq_len} tokens, and {num_bytes} bytes of "
                "text cannot fit",
                param,
            )

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
