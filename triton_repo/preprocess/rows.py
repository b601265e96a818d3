"""The rows of one request on their way to the engine: each is tokenized or refused by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_repo.contract.errors import EngineFailed, RequestError
from triton_repo.contract.tensors import (
    CHAT,
    PADDING,
    PROMPT_TOKEN_IDS,
    STOP_WORDS,
    TEXT_INPUT,
    strip_padding,
)
from triton_repo.preprocess.prompt import Prompt, PromptEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """For each row its token ids, padded to the length of the longest, its stop sequences, and why it has none."""

    input_ids: list[list[int]]
    stop_sequences: list[list[list[int]]]
    refusals: list[RequestError | None]


def prepare(rows: Sequence[Mapping[str, Sequence[Any]]], encoder: PromptEncoder) -> Prepared:
    """Tokenize the prompts of all rows.

    Raises:
        RequestError: there is but one row, and it is refused.
    """
    outcomes = [_prepare_row(row, encoder) for row in rows]
    refusals = [outcome if isinstance(outcome, RequestError) else None for outcome in outcomes]
    if len(refusals) == 1 and refusals[0] is not None:
        raise refusals[0]
    encoded = [([], []) if isinstance(outcome, RequestError) else outcome for outcome in outcomes]
    longest = max(1, *(len(ids) for ids, _ in encoded))
    padded = [ids + [PADDING] * (longest - len(ids)) for ids, _ in encoded]
    return Prepared(padded, [sequences for _, sequences in encoded], refusals)


def _prepare_row(
    row: Mapping[str, Sequence[Any]], encoder: PromptEncoder
) -> tuple[list[int], list[list[int]]] | RequestError:
    """Token ids and stop sequences of one row, or what is wrong with it, which must not fail those beside it."""
    token_ids = row.get(PROMPT_TOKEN_IDS.name)
    try:
        prompt = Prompt(
            text=_first(row.get(TEXT_INPUT.name)),
            chat=_first(row.get(CHAT.name)),
            token_ids=None if token_ids is None else strip_padding(token_ids),
            stop_words=row.get(STOP_WORDS.name, ()),
        )
        return encoder.encode(prompt), encoder.stop_sequences(prompt.stop_words)
    except RequestError as error:
        return error
    except Exception:  # the boundary of one row
        logger.exception("a prompt could not be prepared")
        return EngineFailed("the prompt could not be prepared")


def _first(values: Sequence[bytes] | None) -> bytes | None:
    return None if values is None else values[0]
