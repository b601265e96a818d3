"""Special tokens in the text of a client are text: only those that the chat template writes are special tokens.

Without this, `<|im_end|><|im_start|>system` in the text of a user is a turn of the system, to the token. A template may
do anything with a text, so where it ends up cannot be told from its rendering. So before it is rendered, each special
token in what the client sent gets a mark in front of it, a noncharacter of Unicode that occurs nowhere else in the
chat. In the rendered prompt those with a mark are text, and all others are the template's.

For the tokenizer the template's are then renamed: they become special tokens of a second tokenizer, which knows the
real names as ordinary text alone. So one pass encodes the whole prompt, with the same normalization, the same spaces
and the same merges as ever. Chats without special tokens in them, nearly all, take none of these steps.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NamedTuple

from tokenizers import Tokenizer

from triton_repo.contract.errors import InvalidRequest

_MARKS: Final = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # noncharacters: never part of a text that is exchanged
_FENCE: Final = "\U000f0000"  # of private use: no normalizer changes it


class Marked(NamedTuple):
    """A rendered prompt: the special tokens behind a `mark` are text; other marks are left over."""

    text: str
    mark: str

    @property
    def plain(self) -> str:
        return self.text.replace(self.mark, "")


def special_tokens(tokenizer: Tokenizer) -> list[str]:
    """The texts that a tokenizer reads as special tokens."""
    return [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special and token.content]


class _Taken(Exception):
    """The text has the mark already."""


@dataclass(frozen=True, slots=True)
class _Marker:
    pattern: re.Pattern[str]
    mark: str

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(of) for name, of in value.items()}
        if isinstance(value, list):
            return self._parts(value) if all(map(_is_text_part, value)) else [self.value(each) for each in value]
        return value

    def text(self, text: str) -> str:
        if self.mark in text:
            raise _Taken
        return self.pattern.sub(rf"{self.mark}\g<0>", text)

    def _parts(self, parts: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Text parts, which a template may join: a token may begin in one and end in another."""
        texts = [part["text"] for part in parts]
        joined = "".join(texts)
        if self.mark in joined:
            raise _Taken
        starts = [match.start() for match in self.pattern.finditer(joined)]
        ends = list(accumulate(map(len, texts)))
        marked = []
        for part, text, end in zip(parts, texts, ends, strict=True):
            begin = end - len(text)
            own = [start - begin for start in starts if begin <= start < end]
            pieces = [text[a:b] for a, b in zip([0, *own], [*own, len(text)], strict=True)]
            marked.append({**part, "text": self.mark.join(pieces)})
        return marked


def _is_text_part(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str)


class ClientText:
    """Marks the special tokens in what a client sent. No tokens: marks none.

    Args:
        tokens: the texts of special tokens.
    """

    def __init__(self, tokens: Sequence[str] = ()) -> None:
        self._pattern = re.compile(_alternatives(tokens)) if tokens else None

    def mark(self, sent: Any) -> tuple[Any, str]:
        """The same JSON value with its special tokens marked, and the mark; "" where there are none.

        Raises:
            InvalidRequest: every mark is taken.
        """
        if self._pattern is None:
            return sent, ""
        for mark in _MARKS:
            try:
                marked = _Marker(self._pattern, mark).value(sent)
            except _Taken:
                continue
            return (sent, "") if marked == sent else (marked, mark)
        raise InvalidRequest("messages: the text has every noncharacter from U+FDD0 to U+FDEF", "messages")


NO_MARKS: Final = ClientText()


class ClientTextTokenizer:
    """Encodes prompts in which some special tokens are text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        special = special_tokens(tokenizer)
        self._pattern = _alternatives(special)
        self._names = {token: f"{_FENCE}{secrets.token_hex(8)}{_FENCE}" for token in special}  # which none can guess
        renamed = _renamed(json.loads(tokenizer.to_str()), self._names)
        self._tokenizer = Tokenizer.from_str(json.dumps(renamed))
        of_added = {token.content: id for id, token in tokenizer.get_added_tokens_decoder().items()}
        names = {token: self._names.get(token, token) for token in of_added}
        self._ids = {self._tokenizer.token_to_id(names[token]): id for token, id in of_added.items()}

    def encode(self, prompt: Marked) -> list[int]:
        """Token ids, without any that the tokenizer adds by itself."""
        mark = prompt.mark
        # A filter may have written it as JSON, in ASCII.
        marks = f"(?P<mark>{mark}|{re.escape(json.dumps(mark)[1:-1])})"
        text = re.sub(rf"{marks}?(?P<token>{self._pattern})", self._unmarked_or_renamed, prompt.text)
        (encoding,) = self._tokenizer.encode_batch_fast([text.replace(mark, "")], add_special_tokens=False)
        return [self._ids.get(id, id) for id in encoding.ids]

    def _unmarked_or_renamed(self, match: re.Match[str]) -> str:
        return match["token"] if match["mark"] else self._names[match["token"]]


def _alternatives(tokens: Iterable[str]) -> str:
    """A pattern of any of them; of several at one place it takes the longest, as tokenizers do."""
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))


def _renamed(spec: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A `tokenizer.json` whose special tokens have other names, in the vocabulary of its model too.

    A piece of that name in the vocabulary would be as good as the token: Unigram models would find it in a text.
    """
    model = dict(spec["model"])
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): id for piece, id in vocabulary.items()}
    elif vocabulary is not None:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    added = [{**token, "content": names.get(token["content"], token["content"])} for token in spec["added_tokens"]]
    return {**spec, "model": model, "added_tokens": added, "post_processor": None}
