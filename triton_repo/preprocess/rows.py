"""The rows of one request on their way to the engine: each is tokenized or rejected independently."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

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
    TOKENIZE,
    TRUNCATE_PROMPT_TOKENS,
    strip_padding,
)
from triton_repo.preprocess.prompt import Prompt, PromptEncoder
from triton_repo.preprocess.template_processes import Rendered

_SHORT_BYTES: Final = 1 << 14

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Per row its token ids, padded to the length of the longest, its stop sequences, and the error if it has none.

    Attributes:
        texts: of each row, where they were asked for.
    """

    input_ids: list[list[int]]
    stop_sequences: list[list[list[int]]]
    rejections: list[RequestError | None]
    texts: list[str]


class _Options(NamedTuple):
    """Request parameters."""

    add_special_tokens: bool | None
    tokenize: str | None  # None: for an engine
    num_last: int | None  # of the prompt only so many tokens are kept

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> _Options:
        """Raises InvalidRequest."""
        last = parameters.get(TRUNCATE_PROMPT_TOKENS)
        options = cls(parameters.get(ADD_SPECIAL_TOKENS), parameters.get(TOKENIZE), last)
        if not isinstance(options.add_special_tokens, bool | None):
            given = f"{ADD_SPECIAL_TOKENS} = {options.add_special_tokens!r}"
            raise InvalidRequest(f"{given}: true or false is required", ADD_SPECIAL_TOKENS)
        if options.tokenize not in (None, "ids", "texts"):
            raise InvalidRequest(f'{TOKENIZE} = {options.tokenize!r}: "ids" or "texts" is required', TOKENIZE)
        if last is not None and (not isinstance(last, int) or isinstance(last, bool) or last < 1):
            given = f"{TRUNCATE_PROMPT_TOKENS} = {last!r}"
            raise InvalidRequest(f"{given}: an integer ≥ 1 is required", TRUNCATE_PROMPT_TOKENS)
        return options


class _Row(NamedTuple):
    ids: list[int]
    stop_sequences: list[list[int]]
    texts: str | None


_REJECTED: Final = _Row([], [], None)


def are_short(rows: Sequence[Mapping[str, Sequence[Any]]]) -> bool:
    """Whether all of them take milliseconds."""
    texts = [value for row in rows for name in (TEXT_INPUT.name, CHAT.name) for value in row.get(name, ())]
    num_ids = sum(len(row.get(PROMPT_TOKEN_IDS.name, ())) for row in rows)
    return num_ids + sum(map(len, texts)) <= _SHORT_BYTES


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
    options = _Options.of(parameters)
    are_one_clients = len(rows) == 1 or CHANNEL not in parameters
    alone = are_one_clients and not others_wait
    chats = [row[CHAT.name][0] for row in rows if CHAT.name in row]  # every row has a tensor, or none has it
    rendered = encoder.render(chats, alone=alone) if chats else [None] * len(rows)
    pairs = zip(rows, rendered, strict=True)
    outcomes = [_prepare_row(row, options, of_chat, encoder) for row, of_chat in pairs]
    rejections = [outcome if isinstance(outcome, RequestError) else None for outcome in outcomes]
    for rejection in rejections:
        if rejection is not None and (len(rows) == 1 or (are_one_clients and isinstance(rejection, SendAlone))):
            raise rejection
    encoded = [_REJECTED if isinstance(outcome, RequestError) else outcome for outcome in outcomes]
    longest = max(1, *(len(row.ids) for row in encoded))
    padded = [row.ids + [PADDING] * (longest - len(row.ids)) for row in encoded]
    texts = [row.texts or "" for row in encoded] if options.tokenize == "texts" else []
    return PreparedRows(padded, [row.stop_sequences for row in encoded], rejections, texts)


def _prepare_row(
    row: Mapping[str, Sequence[Any]], options: _Options, rendered: Rendered | None, encoder: PromptEncoder
) -> _Row | RequestError:
    """One row, or its error, which must not fail the other rows."""
    token_ids = row.get(PROMPT_TOKEN_IDS.name)
    try:
        for name, values in row.items():
            check_stock_input(name, values)
        prompt = Prompt(
            text=_first(row.get(TEXT_INPUT.name)),
            chat=_first(row.get(CHAT.name)),
            token_ids=None if token_ids is None else strip_padding(token_ids),
            stop_words=row.get(STOP_WORDS.name, ()),
            add_special_tokens=options.add_special_tokens,
        )
        if options.tokenize is None:
            ids = encoder.encode(prompt, rendered, options.num_last)
            return _Row(ids, encoder.stop_sequences(prompt.stop_words), None)
        tokenized = encoder.tokenize(prompt, rendered)
        return _Row(tokenized.ids, [], encoder.texts(tokenized) if options.tokenize == "texts" else None)
    except RequestError as error:
        return error
    except Exception:  # the boundary of one row
        logger.exception("a prompt could not be prepared")
        return EngineFailed("the prompt could not be prepared")


def _first(values: Sequence[bytes] | None) -> bytes | None:
    return None if values is None else values[0]
