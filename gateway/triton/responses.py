"""What Triton answers: the deltas in a response of an ensemble, and the tokens of a prompt; read as `wire` writes."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Iterator
from itertools import repeat
from typing import Any, Final

from gateway.answers.backend import Delta, TokenTexts
from triton_repo.contract.errors import EngineFailed, RequestError, from_wire
from triton_repo.contract.tensors import (
    FINISH_REASON,
    FINISH_REASONS,
    INPUT_IDS,
    PADDING,
    REQUEST_IDS,
    TEXT_OUTPUT,
    TOKEN_COUNTS,
    TOKEN_TEXTS,
)

_LENGTH: Final = struct.Struct("<I")  # before each element of a BYTES tensor
_COUNTS: Final = struct.Struct("<3i")


class MalformedResponse(Exception):
    """A response that is not what an ensemble of ours sends."""


def read_deltas(response: Any) -> list[tuple[str, Delta | RequestError]]:
    """The deltas in a protobuf ModelInferResponse, or what ends a request instead, each with the id of its request.

    Raises:
        MalformedResponse: it is not a response of an ensemble of ours; no delta of it can be trusted.
    """
    try:
        return [*_deltas(response)]
    except (KeyError, ValueError, struct.error) as error:
        raise MalformedResponse(f"{type(error).__name__}: {error}") from error


def _deltas(response: Any) -> Iterator[tuple[str, Delta | RequestError]]:
    raw = _outputs(response)
    texts = [*_strings(raw[TEXT_OUTPUT.name])]
    ids, reasons = (_strings(raw[tensor.name]) for tensor in (REQUEST_IDS, FINISH_REASON))
    counts = _COUNTS.iter_unpack(raw[TOKEN_COUNTS.name])
    num_deltas = len(raw[TOKEN_COUNTS.name]) // _COUNTS.size
    tokens = texts[num_deltas : 2 * num_deltas] or repeat("", num_deltas)
    prompts = texts[2 * num_deltas :] or repeat("", num_deltas)
    deltas = zip(ids, texts[:num_deltas], reasons, counts, tokens, prompts, strict=True)
    for id, text, reason, (num_prompt, cached, completion), own_tokens, prompt in deltas:
        if reason in FINISH_REASONS:
            yield id, Delta(text, reason, num_prompt, cached, completion, own_tokens, prompt)
        else:
            yield id, from_wire(reason) or EngineFailed("the engine failed")


def read_tokens(response: Any) -> TokenTexts:
    """The answer to a `tokenize_request`; without the texts they are empty.

    Raises:
        MalformedResponse: it is none.
    """
    try:
        raw = _outputs(response)
        ids = array("i", raw[INPUT_IDS.name])
        if list(ids) == [PADDING]:  # an empty prompt
            ids.pop()
        if TOKEN_TEXTS.name not in raw:
            return TokenTexts(ids, "", ())
        [described] = _strings(raw[TOKEN_TEXTS.name])
        texts = json.loads(described)
        return TokenTexts(ids, texts["text"], texts["pieces"])
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise MalformedResponse(f"{type(error).__name__}: {error}") from error


def _outputs(response: Any) -> dict[str, bytes]:
    contents = zip(response.outputs, response.raw_output_contents, strict=True)
    return {output.name: content for output, content in contents}


def _strings(raw: bytes) -> Iterator[str]:
    """The elements of a BYTES tensor."""
    start, end = 0, len(raw)
    while start < end:
        (length,) = _LENGTH.unpack_from(raw, start)
        start += 4 + length
        if start > end:
            raise ValueError(f"a BYTES tensor of {end} bytes ends in an element of {length}")
        yield raw[start - length : start].decode(errors="replace")
