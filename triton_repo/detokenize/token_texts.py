"""The tokens of an answer one by one: as OpenAI's chat format lists them, or just the lengths of their texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from triton_repo.contract.logprobs import LENGTHS_ONLY, TokenLogprob, from_json
from triton_repo.contract.tensors import MAX_CONTEXT_IDS, TEXT_LENGTH
from triton_repo.detokenize.detokenizer import Detokenizer, EncodedDelta

_CACHED_TOKENS: Final = 1 << 16  # alternatives repeat often


def list_deltas(deltas: Sequence[EncodedDelta], logprobs: Sequence[bytes]) -> list[str]:
    """The tokens of all deltas of one message, each delta's as JSON. `logprobs` are the values of `LOGPROBS`."""
    listed = [_list_delta(delta, encoded) for delta, encoded in zip(deltas, logprobs, strict=True)]
    return [f"[{', '.join(tokens)}]" if tokens else "" for tokens in listed]


def _list_delta(delta: EncodedDelta, encoded: bytes) -> list[str]:
    if encoded == LENGTHS_ONLY:
        return [f'{{"{TEXT_LENGTH}": {length}}}' for length in _text_lengths(delta)]
    return list_tokens(delta, from_json(encoded))


def list_tokens(delta: EncodedDelta, logprobs: Sequence[TokenLogprob]) -> list[str]:
    """The new tokens of one delta, each as a JSON object.

    `bytes` are the bytes of the token, `token` is their text, with U+FFFD for a part of a character. `text_length` is
    the number of characters that the token adds to the answer: 0 if it leaves a character incomplete.
    """
    listed = []
    new_ids = delta.ids[delta.num_context :]
    for id, of, length in zip(new_ids, logprobs, _text_lengths(delta), strict=False):
        top = ", ".join([f"{{{_entry(delta.detokenizer, other, logprob)}}}" for other, logprob in of.top])
        entry = _entry(delta.detokenizer, id, of.logprob)
        listed.append(f'{{{entry}, "top_logprobs": [{top}], "{TEXT_LENGTH}": {length}}}')
    return listed


def _text_lengths(delta: EncodedDelta) -> Iterator[int]:
    """The number of characters that each new token adds to the answer."""
    detokenizer, ids, num_context, final = delta
    for at in range(num_context, len(ids)):
        num_own_context = min(at, MAX_CONTEXT_IDS)
        own_ids = ids[at - num_own_context : at + 1]
        yield len(detokenizer.delta(own_ids, num_own_context, final and at == len(ids) - 1))


def _entry(detokenizer: Detokenizer, id: int, logprob: float | None) -> str:
    """The members of a JSON object, as text: an encoder takes three times as long, and a token may have 20 of these."""
    text, own_bytes = _text_and_bytes(detokenizer, id)
    return f'"token": {text}, "logprob": {json.dumps(logprob)}, "bytes": {own_bytes}'


@lru_cache(_CACHED_TOKENS)
def _text_and_bytes(detokenizer: Detokenizer, id: int) -> tuple[str, str]:
    """A token's text and its bytes, as JSON."""
    own_bytes = detokenizer.token_bytes(id)
    return json.dumps(own_bytes.decode(errors="replace")), json.dumps([*own_bytes])
