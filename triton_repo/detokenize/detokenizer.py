"""Token ids to text, delta by delta, as a pure function.

A step of an ensemble has no memory of a request, and ids cannot be decoded on their own: one character may be spread
over several tokens, and SentencePiece drops the leading space of what it decodes. So each delta comes with a few of the
ids before it as context, and its text is what the new ids add to that of the context. Joined, the texts are
decode(all ids), and none ends in half a character. Special tokens (EOS, turn markers) leave no text, unless a request
asks for those that do not end an answer: they mark the tool calls and the reasoning of some models.

With byte fallback they may differ from decode(all ids) in three cases that no tokenizer encodes: bytes that are not
UTF-8 (how many U+FFFD they become depends on the bytes beside them), a special token between the bytes of one
character, and so many special tokens at the start that the context holds nothing else.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from tokenizers import Tokenizer

from triton_repo.contract.tensors import MAX_CONTEXT_IDS, NO_FLAGS, DeltaFlags

LENGTHS_OF_DELTA: Final = 3  # elements of `DELTA_LENGTHS`


class Detokenizer(Protocol):
    def __hash__(self) -> int: ...  # the bytes of its tokens are cached

    def delta(self, ids: Sequence[int], num_context: int, final: bool) -> str:
        """The text that the new ids add.

        Args:
            ids: the context ids, then the new ids.
            num_context: number of context ids: all ids of earlier deltas, or the last `MAX_CONTEXT_IDS` of them.
            final: no more ids follow, so an incomplete character at the end becomes U+FFFD.
        """

    def token_bytes(self, id: int) -> bytes:
        """The bytes of a token in the middle of a text; those of a special token are its name.

        With a decoder like SentencePiece's they may begin with a space that the text lacks if the token is its first.
        """

    def keeping_special(self, end_ids: Collection[int]) -> Detokenizer:
        """The same, but that the text shows special tokens, except `end_ids`."""


class Detokenizers(NamedTuple):
    """Of one tokenizer: `[False]` for most requests, `[True]` for those that keep special tokens."""

    plain: Detokenizer
    keeping_special: Detokenizer

    @classmethod
    def load(cls, tokenizer_file: Path, end_ids: Collection[int]) -> Detokenizers:
        """`end_ids` are the tokens that end an answer and are never part of its text."""
        plain = make_detokenizer(Tokenizer.from_buffer(tokenizer_file.read_bytes()))
        return cls(plain, plain.keeping_special(end_ids))


def make_detokenizer(tokenizer: Tokenizer) -> Detokenizer:
    """The detokenizer for the way in which the tokenizer encodes bytes."""
    spec: dict[str, Any] = json.loads(tokenizer.to_str())
    special = {token["id"]: token["content"].encode() for token in spec.get("added_tokens", []) if token["special"]}
    tokens = {id: text for text, id in tokenizer.get_vocab(with_added_tokens=True).items() if id not in special}
    if _is_byte_level(spec.get("decoder") or {}):
        return ByteLevelDetokenizer(tokens, special)
    return ContextDetokenizer(tokenizer, tokens, special)


class EncodedDelta(NamedTuple):
    """One delta of a message: the context ids and then the new ids, and what turns them into text."""

    detokenizer: Detokenizer
    ids: Sequence[int]
    num_context: int
    final: bool
    flags: DeltaFlags = NO_FLAGS

    def text(self) -> str:
        return self.detokenizer.delta(self.spoken_ids, self.num_context, self.final)

    @property
    def spoken_ids(self) -> Sequence[int]:
        """Without the id that leaves no text because it ended the answer."""
        return self.ids[:-1] if DeltaFlags.SILENT_END in self.flags else self.ids


def split_deltas(
    detokenizers: Detokenizers, ids: Sequence[int], lengths: Sequence[int], finals: Sequence[bool]
) -> list[EncodedDelta]:
    """All deltas of one message; `ids` and `lengths` as `OUTPUT_IDS` and `DELTA_LENGTHS` describe them."""
    deltas, start = [], 0
    columns = (lengths[column::LENGTHS_OF_DELTA] for column in range(LENGTHS_OF_DELTA))
    for num_context, length, flag, final in zip(*columns, finals, strict=True):
        flags = DeltaFlags(flag)
        detokenizer = detokenizers[DeltaFlags.KEEPS_SPECIAL in flags]
        deltas.append(EncodedDelta(detokenizer, ids[start : start + length], num_context, final, flags))
        start += length
    return deltas


class ByteLevelDetokenizer:
    """For byte-level BPE (GPT-2, Llama 3, Qwen): every token is a string of bytes, the text is their UTF-8."""

    def __init__(self, tokens: Mapping[int, str], special: Mapping[int, bytes]) -> None:
        alphabet = _byte_level_alphabet()
        self._special = special
        self._bytes: Mapping[int, bytes] = {id: _token_bytes(text, alphabet) for id, text in tokens.items()}

    def delta(self, ids: Sequence[int], num_context: int, final: bool) -> str:
        # The context leaves an incomplete character at its end in the decoder; its text was sent before.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(self._join(ids[:num_context]))
        return decoder.decode(self._join(ids[num_context:]), final)

    def token_bytes(self, id: int) -> bytes:
        return self._bytes.get(id, b"") or self._special.get(id, b"")

    def keeping_special(self, end_ids: Collection[int]) -> Detokenizer:
        keeping = copy(self)
        keeping._bytes = {**self._bytes, **{id: text for id, text in self._special.items() if id not in end_ids}}
        return keeping

    def _join(self, ids: Sequence[int]) -> bytes:
        return b"".join([self._bytes.get(id, b"") for id in ids])


class ContextDetokenizer:
    """For every other tokenizer: decode(context + new) minus decode(context), both cut before an incomplete character.

    Only the tokens `<0x..>` of SentencePiece's byte fallback, one byte each, make incomplete characters.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: Mapping[int, str], special: Mapping[int, bytes]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._byte = {id: int(text[3:5], 16) for id, text in tokens.items() if _is_byte_token(text)}
        self._anchor = tokenizer.encode("a", add_special_tokens=False).ids[-1:]
        self._end_ids: Collection[int] | None = None  # where the other special tokens are part of the text

    def delta(self, ids: Sequence[int], num_context: int, final: bool) -> str:
        sent = self._whole_characters(ids[:num_context])
        whole = len(ids) if final else self._whole_characters(ids)
        if num_context < MAX_CONTEXT_IDS:
            return self._added([], ids[:sent], ids[sent:whole])
        # The stream began before the context. The anchor stands for the text there, so that the decoder does not treat
        # the context as the beginning; the rest of a character that began there would decode to U+FFFD.
        start = self._skip_continuation(ids[:sent])
        return self._added(self._anchor, ids[start:sent], ids[sent:whole])

    def token_bytes(self, id: int) -> bytes:
        if id in self._special:
            return self._special[id]
        return bytes([self._byte[id]]) if id in self._byte else self._added(self._anchor, [], [id]).encode()

    def keeping_special(self, end_ids: Collection[int]) -> Detokenizer:
        keeping = copy(self)
        keeping._end_ids = frozenset(end_ids)
        return keeping

    def _added(self, anchor: Sequence[int], sent: Sequence[int], new: Sequence[int]) -> str:
        before = self._decode([*anchor, *sent])
        return self._decode([*anchor, *sent, *new])[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        if self._end_ids is None:
            return str(self._tokenizer.decode(ids, skip_special_tokens=True))
        return str(self._tokenizer.decode([id for id in ids if id not in self._end_ids], skip_special_tokens=False))

    def _whole_characters(self, ids: Sequence[int]) -> int:
        """How many leading ids end in a complete character."""
        for length in range(1, min(4, len(ids) + 1)):
            lead = self._byte.get(ids[-length])
            if lead is None:
                break
            if not _is_continuation(lead):
                return len(ids) - length if length <= _continuation_bytes(lead) else len(ids)
        return len(ids)

    def _skip_continuation(self, ids: Sequence[int]) -> int:
        """How many leading ids belong to a character that began before the context."""
        leading = [_is_continuation(self._byte.get(id, 0)) for id in ids[:3]]
        return next((index for index, continues in enumerate(leading) if not continues), len(leading))


def _is_byte_level(decoder: Mapping[str, Any]) -> bool:
    """Whether all that a decoder does is to read bytes, be it as the one step of a sequence."""
    steps = decoder.get("decoders", [decoder])
    return {step.get("type") for step in steps} - {"Fuse"} == {"ByteLevel"}


def _is_continuation(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _continuation_bytes(lead: int) -> int:
    """How many continuation bytes follow a lead byte in UTF-8 (RFC 3629); 0 for a byte that is not a lead byte."""
    if 0xC2 <= lead <= 0xDF:
        return 1
    if 0xE0 <= lead <= 0xEF:
        return 2
    return 3 if 0xF0 <= lead <= 0xF4 else 0


def _token_bytes(text: str, alphabet: Mapping[str, int]) -> bytes:
    if all(character in alphabet for character in text):
        return bytes(alphabet[character] for character in text)
    return text.encode()  # an added token is its own text


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte: printable Latin-1 is itself, the other bytes follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _is_byte_token(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")
