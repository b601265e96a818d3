"""Token ids to text, delta by delta, as a pure function.

A step of an ensemble has no memory of a request, and ids cannot be decoded on their own: SentencePiece drops the
leading space of whatever it is given, and one character may be spread over several tokens. So each delta brings a
short window of the ids before it, and its text is decode(window + new) minus decode(window), both cut before a
character that is not whole yet. Joined, the deltas are decode(all ids), and none ends in half a character.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from triton_repo.detokenize.window import WINDOW


class Detokenizer:
    """Decodes with one tokenizer; special tokens (EOS, turn markers) leave no text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = _token_bytes(tokenizer)
        self._anchor = tokenizer.encode("a", add_special_tokens=False).ids[-1:]

    @classmethod
    def load(cls, tokenizer_file: Path) -> Detokenizer:
        return cls(Tokenizer.from_file(str(tokenizer_file)))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def delta(self, ids: Sequence[int], window_length: int, final: bool) -> str:
        """The text that the ids after the window add.

        Args:
            ids: the window, then the new ids.
            window_length: how many leading ids were part of earlier deltas: all of them, or the last `WINDOW`.
            final: no more ids follow, so a character that is still broken is given as U+FFFD.
        """
        if window_length == 0 and final:
            return self.decode(ids)
        sent = self._whole_characters(ids, window_length)
        whole = len(ids) if final else self._whole_characters(ids, len(ids))
        if window_length < WINDOW:
            return self.decode(ids[:whole])[len(self.decode(ids[:sent])) :]
        # The stream began before the window. The anchor stands for the text there, so that the decoder does not take
        # the window for a beginning; the rest of a character that began there would decode to U+FFFD.
        start = self._skip_continuation(ids, sent)
        before = self.decode([*self._anchor, *ids[start:sent]])
        return self.decode([*self._anchor, *ids[start:whole]])[len(before) :]

    def _whole_characters(self, ids: Sequence[int], end: int) -> int:
        """The largest n ≤ end such that ids[:n] does not end inside a character."""
        continuation = 0
        for index in range(end - 1, -1, -1):
            for byte in reversed(self._bytes.get(ids[index], b"")):
                if byte & 0xC0 != 0x80:
                    return index if continuation < _continuation_bytes(byte) else end
                continuation += 1
                if continuation > 3:
                    return end
        return end

    def _skip_continuation(self, ids: Sequence[int], end: int) -> int:
        """Index of the first id that does not go on with a character from before the window."""
        for index in range(min(end, 3)):
            if not _is_continuation(self._bytes.get(ids[index], b"")[:1]):
                return index
        return min(end, 3)


def _is_continuation(first_byte: bytes) -> bool:
    return first_byte != b"" and first_byte[0] & 0xC0 == 0x80


def _continuation_bytes(lead: int) -> int:
    """How many continuation bytes follow a lead byte in UTF-8 (RFC 3629); 0 for ASCII and for what leads nothing."""
    if 0xC2 <= lead <= 0xDF:
        return 1
    if 0xE0 <= lead <= 0xEF:
        return 2
    return 3 if 0xF0 <= lead <= 0xF4 else 0


def _token_bytes(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Bytes of every token that holds bytes above 0x7F; all others are whole characters by themselves.

    Tokenizers spell bytes in two ways: byte-level BPE writes each byte as one printable character, and SentencePiece
    with byte fallback has a token `<0x..>` for each byte.
    """
    spec: dict[str, Any] = json.loads(tokenizer.to_str())
    decoders = _decoder_types(spec.get("decoder"))
    special = {token["id"] for token in spec.get("added_tokens", []) if token["special"]}
    vocabulary = {text: id for text, id in tokenizer.get_vocab(with_added_tokens=True).items() if id not in special}
    if "ByteLevel" in decoders:
        alphabet = _byte_level_alphabet()
        return {id: _byte_level_bytes(text, alphabet) for text, id in vocabulary.items() if not text.isascii()}
    if "ByteFallback" in decoders:
        return {id: bytes([int(text[3:5], 16)]) for text, id in vocabulary.items() if _is_byte_token(text)}
    return {}


def _decoder_types(decoder: dict[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    return {decoder["type"]}.union(*(_decoder_types(inner) for inner in decoder.get("decoders", [])))


def _byte_level_bytes(text: str, alphabet: dict[str, int]) -> bytes:
    if all(character in alphabet for character in text):
        return bytes(alphabet[character] for character in text)
    return text.encode()  # an added token stands for its own text


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte: printable Latin-1 stands for itself, the rest follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _is_byte_token(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")
