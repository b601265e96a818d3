"""The tokens of an answer one by one: as OpenAI's chat format lists them, or just the lengths of their texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from triton_repo.contract.logprobs import LENGTHS_ONLY, TokenLogprob, from_json
from triton_repo.contract.tensors import MAX_CONTEXT_IDS, TEXT_LENGTH
from triton_repo.detokenize.detokenizer import Detokenizer

_REMEMBERED: Final = 1 << 16  # spellings: alternatives come again and again


def list_deltas(
    detokenizer: Detokenizer,
    ids: Sequence[int],
    lengths: Sequence[int],
    finals: Sequence[bool],
    logprobs: Sequence[bytes],
) -> list[str]:
    """The tokens of all deltas of one message, as JSON: beside the texts of `decode_deltas`. `logprobs`: `LOGPROBS`."""
    listed, start = [], 0
    for window_length, length, final, encoded in zip(lengths[::2], lengths[1::2], finals, logprobs, strict=True):
        tokens = _list_delta(detokenizer, ids[start : start + length], window_length, final, encoded)
        listed.append(f"[{', '.join(tokens)}]" if tokens else "")
        start += length
    return listed


def _list_delta(
    detokenizer: Detokenizer, ids: Sequence[int], window_length: int, final: bool, encoded: bytes
) -> list[str]:
    if encoded == LENGTHS_ONLY:
        return [f'{{"{TEXT_LENGTH}": {length}}}' for length in _text_lengths(detokenizer, ids, window_length, final)]
    return list_tokens(detokenizer, ids, window_length, final, from_json(encoded))


def list_tokens(
    detokenizer: Detokenizer, ids: Sequence[int], window_length: int, final: bool, logprobs: Sequence[TokenLogprob]
) -> list[str]:
    """The new tokens of one delta, each as a JSON object; `ids` and `window_length` as for `Detokenizer.delta`.

    `bytes` are what the token stands for. `token` is their text, in which U+FFFD stands for a part of a character.
    `text_length` is the number of characters that the token adds to the answer: 0 if it leaves a character unfinished.
    """
    listed = []
    lengths = _text_lengths(detokenizer, ids, window_length, final)
    for id, of, length in zip(ids[window_length:], logprobs, lengths, strict=False):
        top = ", ".join([f"{{{_entry(detokenizer, other, logprob)}}}" for other, logprob in of.top])
        entry = _entry(detokenizer, id, of.logprob)
        listed.append(f'{{{entry}, "top_logprobs": [{top}], "{TEXT_LENGTH}": {length}}}')
    return listed


def _text_lengths(detokenizer: Detokenizer, ids: Sequence[int], window_length: int, final: bool) -> Iterator[int]:
    """The number of characters that each new token adds to the answer."""
    for at in range(window_length, len(ids)):
        window = ids[max(0, at - MAX_CONTEXT_IDS) : at]
        yield len(detokenizer.delta(ids[at - len(window) : at + 1], len(window), final and at == len(ids) - 1))


def _entry(detokenizer: Detokenizer, id: int, logprob: float) -> str:
    """The members of a JSON object; as text, because an encoder takes thrice as long, and a token may have twenty."""
    text, spelled = _spell(detokenizer, id)
    return f'"token": {text}, "logprob": {logprob!r}, "bytes": {spelled}'


@lru_cache(_REMEMBERED)
def _spell(detokenizer: Detokenizer, id: int) -> tuple[str, str]:
    """A token's text and its bytes, as JSON."""
    spelled = detokenizer.spell(id)
    return json.dumps(spelled.decode(errors="replace")), json.dumps([*spelled])
