"""The tokens of an answer one by one, for who asked for their logprobs: as OpenAI's chat format lists them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from triton_repo.contract.logprobs import TokenLogprob, from_json
from triton_repo.contract.tensors import TEXT_LENGTH
from triton_repo.detokenize.detokenizer import Detokenizer
from triton_repo.detokenize.window import WINDOW

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
        own_ids, own = ids[start : start + length], from_json(encoded)
        listed.append(f"[{', '.join(list_tokens(detokenizer, own_ids, window_length, final, own))}]" if own else "")
        start += length
    return listed


def list_tokens(
    detokenizer: Detokenizer, ids: Sequence[int], window_length: int, final: bool, logprobs: Sequence[TokenLogprob]
) -> list[str]:
    """The new tokens of one delta, each as a JSON object; `ids` and `window_length` as for `Detokenizer.delta`.

    `bytes` are what the token stands for. `token` is their text, in which U+FFFD stands for a part of a character.
    `text_length` is the number of characters that the token adds to the answer: 0 if it leaves a character unfinished.
    """
    listed = []
    for at, (id, of) in enumerate(zip(ids[window_length:], logprobs, strict=False), start=window_length):
        window = ids[max(0, at - WINDOW) : at]
        added = detokenizer.delta([*window, id], len(window), final and at == len(ids) - 1)
        top = ", ".join([f"{{{_entry(detokenizer, other, logprob)}}}" for other, logprob in of.top])
        entry = _entry(detokenizer, id, of.logprob)
        listed.append(f'{{{entry}, "top_logprobs": [{top}], "{TEXT_LENGTH}": {len(added)}}}')
    return listed


def _entry(detokenizer: Detokenizer, id: int, logprob: float) -> str:
    """The members of a JSON object; as text, because an encoder takes thrice as long, and a token may have twenty."""
    text, spelled = _spell(detokenizer, id)
    return f'"token": {text}, "logprob": {logprob!r}, "bytes": {spelled}'


@lru_cache(_REMEMBERED)
def _spell(detokenizer: Detokenizer, id: int) -> tuple[str, str]:
    """A token's text and its bytes, as JSON."""
    spelled = detokenizer.spell(id)
    return json.dumps(spelled.decode(errors="replace")), json.dumps([*spelled])
