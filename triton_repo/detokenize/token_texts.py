"""The tokens of an answer one by one: as OpenAI's chat format lists them, or just the lengths of their texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat, zip_longest
from typing import Final

from triton_repo.contract.logprobs import LENGTHS_ONLY, TokenLogprob, from_json, prompt_from_json
from triton_repo.contract.tensors import (
    MAX_CONTEXT_IDS,
    PROMPT_IDS,
    PROMPT_LOGPROBS,
    TEXT_LENGTH,
    TOKEN_ID,
    DeltaFlags,
)
from triton_repo.detokenize.detokenizer import Detokenizer, EncodedDelta

_CACHED_TOKENS: Final = 1 << 16  # alternatives repeat often


def list_deltas(deltas: Sequence[EncodedDelta], listed: Sequence[bytes]) -> list[str]:
    """The tokens of all deltas of one message, each delta's as JSON, then what is told of their prompts, if there is
    any. `listed` are the values of `LOGPROBS`."""
    encoded, prompts = listed[: len(deltas)], listed[len(deltas) :]
    tokens = [_list_delta(delta, of) for delta, of in zip(deltas, encoded, strict=True)]
    joined = [f"[{', '.join(entries)}]" if entries else "" for entries in tokens]
    return joined + [_prompt(delta.detokenizer, of) for delta, of in zip(deltas, prompts, strict=False)]


def _list_delta(delta: EncodedDelta, encoded: bytes) -> list[str]:
    if encoded == LENGTHS_ONLY:
        return list_tokens(delta, [])
    return list_tokens(delta, from_json(encoded)) if encoded else []


def list_tokens(delta: EncodedDelta, logprobs: Sequence[TokenLogprob]) -> list[str]:
    """The new tokens of one delta, each as a JSON object.

    `bytes` are the bytes of the token, `token` is their text, with U+FFFD for a part of a character. `text_length` is
    the number of characters that the token adds to the answer: 0 if it leaves a character incomplete. A token without
    a logprob, behind those that have one, has its length alone; `token_id` is there if the delta lists ids.
    """
    lists_ids = DeltaFlags.LISTS_IDS in delta.flags
    listed = []
    new_ids = delta.ids[delta.num_context :]
    for id, of, length in zip_longest(new_ids, logprobs[: len(new_ids)], _text_lengths(delta)):
        entry = "" if of is None else _with_alternatives(delta.detokenizer, id, of)
        own_id = f'"{TOKEN_ID}": {id}, ' if lists_ids else ""
        listed.append(f'{{{entry}{own_id}"{TEXT_LENGTH}": {length}}}')
    return listed


def _text_lengths(delta: EncodedDelta) -> Iterator[int]:
    """The number of characters that each new token adds to the answer."""
    detokenizer, num_context, final = delta.detokenizer, delta.num_context, delta.final
    ids = delta.spoken_ids
    for at in range(num_context, len(ids)):
        num_own_context = min(at, MAX_CONTEXT_IDS)
        own_ids = ids[at - num_own_context : at + 1]
        yield len(detokenizer.delta(own_ids, num_own_context, final and at == len(ids) - 1))
    yield from repeat(0, len(delta.ids) - len(ids))


def _prompt(detokenizer: Detokenizer, encoded: bytes) -> str:
    """What is told of a prompt, as JSON; "" where nothing is."""
    if not encoded:
        return ""
    ids, logprobs = prompt_from_json(encoded)
    of_each = [_ranked(detokenizer, id, of) for id, of in zip(ids, logprobs, strict=False)]
    return f'{{"{PROMPT_IDS}": {ids}, "{PROMPT_LOGPROBS}": [{", ".join(of_each)}]}}'


def _ranked(detokenizer: Detokenizer, id: int, of: TokenLogprob) -> str:
    """vLLM's `prompt_logprobs` of one place: the token itself and the likeliest ones, by their ids."""
    if of.logprob is None:
        return "null"
    places = {other: (logprob, rank) for rank, (other, logprob) in enumerate(of.top, start=1)}
    own = {id: (of.logprob, of.rank or places.get(id, (0.0, None))[1])}
    entries = [
        f'"{other}": {{"logprob": {json.dumps(logprob)}, "rank": {json.dumps(rank)}, '
        f'"decoded_token": {_text_and_bytes(detokenizer, other)[0]}}}'
        for other, (logprob, rank) in (own | places | own).items()
    ]
    return f"{{{', '.join(entries)}}}"


def _with_alternatives(detokenizer: Detokenizer, id: int, of: TokenLogprob) -> str:
    top = ", ".join([f"{{{_entry(detokenizer, other, logprob)}}}" for other, logprob in of.top])
    return f'{_entry(detokenizer, id, of.logprob)}, "top_logprobs": [{top}], '


def _entry(detokenizer: Detokenizer, id: int, logprob: float | None) -> str:
    """The members of a JSON object, as text: an encoder takes three times as long, and a token may have 20 of these."""
    text, own_bytes = _text_and_bytes(detokenizer, id)
    return f'"token": {text}, "logprob": {json.dumps(logprob)}, "bytes": {own_bytes}'


@lru_cache(_CACHED_TOKENS)
def _text_and_bytes(detokenizer: Detokenizer, id: int) -> tuple[str, str]:
    """A token's text and its bytes, as JSON."""
    own_bytes = detokenizer.token_bytes(id)
    return json.dumps(own_bytes.decode(errors="replace")), json.dumps([*own_bytes])
