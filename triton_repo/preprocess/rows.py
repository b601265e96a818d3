"""The rows of one request on their way to the engine: each is tokenized or rejected independently."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from triton_repo.contract.errors import EngineFailed, InvalidRequest, RequestError, SendAlone
from triton_repo.contract.stock_inputs import check_stock_input
from triton_repo.contract.tensors import (
    ADD_SPECIAL_TOKENS,
    CHANNEL,
    CHAT,
    PADDING,
    PROMPT_TOKEN_IDS,
    STOP_WORDS,
    TEXT_INPUT,
    strip_padding,
)
from triton_repo.preprocess.prompt import Prompt, PromptEncoder
from triton_repo.preprocess.template_processes import Rendered

_SHORT_BYTES: Final = 1 << 14

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Per row its token ids, padded to the length of the longest, its stop sequences, and the error if it has none."""

    input_ids: list[list[int]]
    stop_sequences: list[list[list[int]]]
    rejections: list[RequestError | None]


def are_short(rows: Sequence[Mapping[str, Sequence[Any]]]) -> bool:
    """Whether to tokenize all their texts takes milliseconds."""
    texts = [value for row in rows for name in (TEXT_INPUT.name, CHAT.name) for value in row.get(name, ())]
    return sum(map(len, texts)) <= _SHORT_BYTES


def prepare(
    rows: Sequence[Mapping[str, Sequence[Any]]],
    parameters: Mapping[str, Any],
    encoder: PromptEncoder,
    *,
    others_wait: bool = False,
) -> PreparedRows:
    """Tokenize the prompts of all rows. `parameters` are those of their request.

    Raises:
        RequestError: there is only one row, and it is rejected; or a parameter is wrong.
        SendAlone: others wait, and a row that is not beside those of other clients takes long.
    """
    add_special_tokens = parameters.get(ADD_SPECIAL_TOKENS)
    if not isinstance(add_special_tokens, bool | None):
        raise InvalidRequest(
            f"{ADD_SPECIAL_TOKENS} = {add_special_tokens!r}: true or false is required", ADD_SPECIAL_TOKENS
        )
    are_one_clients = len(rows) == 1 or CHANNEL not in parameters
    alone = are_one_clients and not others_wait
    chats = [row[CHAT.name][0] for row in rows if CHAT.name in row]  # every row has a tensor, or none has it
    rendered = encoder.render(chats, alone=alone) if chats else [None] * len(rows)
    pairs = zip(rows, rendered, strict=True)
    outcomes = [_prepare_row(row, add_special_tokens, of_chat, encoder) for row, of_chat in pairs]
    rejections = [outcome if isinstance(outcome, RequestError) else None for outcome in outcomes]
    for rejection in rejections:
        if rejection is not None and (len(rows) == 1 or (are_one_clients and isinstance(rejection, SendAlone))):
            raise rejection
    encoded = [([], []) if isinstance(outcome, RequestError) else outcome for outcome in outcomes]
    longest = max(1, *(len(ids) for ids, _ in encoded))
    padded = [ids + [PADDING] * (longest - len(ids)) for ids, _ in encoded]
    return PreparedRows(padded, [sequences for _, sequences in encoded], rejections)


def _prepare_row(
    row: Mapping[str, Sequence[Any]], add_special_tokens: bool | None, rendered: Rendered | None, encoder: PromptEncoder
) -> tuple[list[int], list[list[int]]] | RequestError:
    """Token ids and stop sequences of one row, or its error, which must not fail the other rows."""
    token_ids = row.get(PROMPT_TOKEN_IDS.name)
    try:
        for name, values in row.items():
            check_stock_input(name, values)
        prompt = Prompt(
            text=_first(row.get(TEXT_INPUT.name)),
            chat=_first(row.get(CHAT.name)),
            token_ids=None if token_ids is None else strip_padding(token_ids),
            stop_words=row.get(STOP_WORDS.name, ()),
            add_special_tokens=add_special_tokens,
        )
        return encoder.encode(prompt, rendered), encoder.stop_sequences(prompt.stop_words)
    except RequestError as error:
        return error
    except Exception:  # the boundary of one row
        logger.exception("a prompt could not be prepared")
        return EngineFailed("the prompt could not be prepared")


def _first(values: Sequence[bytes] | None) -> bytes | None:
    return None if values is None else values[0]
