"""The wire of the ensemble: every tensor and request parameter by name, type and shape, declared once.

Names follow NVIDIA's stock TensorRT-LLM ensemble where it has one, so that a client written for it works
unchanged. Dims leave out the batch dimension, as in `config.pbtxt`; on the wire each tensor of a request has a leading
N: the rows, each of which asks for one answer. Messages that answer have a leading 1, however many rows asked.
Rendering, the models, the gateway and the tests read these tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Datatype = Literal["BYTES", "BOOL", "INT32", "UINT64", "FP32"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a Triton model; `datatype` is KServe v2's name for it, -1 in `dims` is a variable length."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...] = (1,)
    optional: bool = True


# What a client may send to the ensemble NAME.
TEXT_INPUT: Final = Tensor("text_input", "BYTES")
CHAT: Final = Tensor("chat", "BYTES")  # JSON: {"messages": [...], "tools": [...], "template_arguments": {...}}
PROMPT_TOKEN_IDS: Final = Tensor("prompt_token_ids", "INT32", (-1,))  # a prompt that is already tokenized
STOP_WORDS: Final = Tensor("stop_words", "BYTES", (-1,))
BAD_WORDS: Final = Tensor("bad_words", "BYTES", (-1,))  # the stock examples send it empty; anything else is refused
STREAM: Final = Tensor("stream", "BOOL")
END_ID: Final = Tensor("end_id", "INT32")
PAD_ID: Final = Tensor("pad_id", "INT32")  # the stock examples send it; ids are padded with `PADDING`
ROW_IDS: Final = Tensor("row_ids", "BYTES")  # of each of several rows, what the request id is to a single one
MAX_ROWS: Final = 32
MAX_ROW_ID_BYTES: Final = 256

SAMPLING_TENSORS: Final = (
    Tensor("max_tokens", "INT32"),
    Tensor("min_tokens", "INT32"),
    Tensor("temperature", "FP32"),
    Tensor("top_p", "FP32"),
    Tensor("top_k", "INT32"),
    Tensor("seed", "UINT64"),
    Tensor("frequency_penalty", "FP32"),
    Tensor("presence_penalty", "FP32"),
    Tensor("repetition_penalty", "FP32"),
)

# Sampling fields that the stock ensemble has no tensor for travel as request parameters, which an ensemble hands
# to every step; lists as JSON text, because a Triton parameter is a scalar.
SAMPLING_PARAMETERS: Final = (
    "min_p",
    "ignore_eos",
    "stop_token_ids",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
    "lora_name",
    "logprobs",
)

# Between preprocess and engine.
INPUT_IDS: Final = Tensor("input_ids", "INT32", (-1,), optional=True)  # optional: a `stop` request has no prompt
PADDING: Final = -1  # behind the ids of a row that is shorter than the others; no part of its prompt, whoever sends it
REFUSAL: Final = Tensor("refusal", "BYTES")  # why a row has no ids, as `errors.to_wire`; "" where it has
STOP_SEQUENCES: Final = Tensor("stop_sequences", "BYTES")  # JSON: token id sequences that end the generation
STOP: Final = Tensor("stop", "BOOL")  # to NAME_engine, with the request id to cancel

# Between engine and detokenize. One message holds any number of deltas, each of one request: one, unless it travels
# on a channel. What belongs to the second delta stands behind what belongs to the first, in every tensor.
OUTPUT_IDS: Final = Tensor("output_ids", "INT32", (-1,), optional=False)  # of each delta its window, then its new ids
DELTA_LENGTHS: Final = Tensor("delta_lengths", "INT32", (-1,), optional=False)  # of each: ids of the window, all ids

# Only in a message in which some delta has logprobs or token lengths: one element per delta, `logprobs.to_json`,
# `logprobs.LENGTHS_ONLY` or "". (Triton lets a step of an ensemble leave out an optional input of the next.)
LOGPROBS: Final = Tensor("logprobs", "BYTES", (-1,))

# Outputs of the ensemble: one value per delta of a message. If some request of the message asked for `logprobs` or
# `token_lengths`, TEXT_OUTPUT holds after the texts one more element per delta ("" for a delta without): JSON, a list
# of the delta's tokens as in OpenAI's `choices[].logprobs.content`, each with the number of characters that it adds to
# the text, `text_length`; for a request that asked for `token_lengths` alone, `text_length` is all that a token has.
# They have no tensor of their own: of every output that a message leaves out, an ensemble keeps a note for as long as
# its request lasts (Triton's ensemble_scheduler.cc), and a channel lasts as long as it is used.
TEXT_OUTPUT: Final = Tensor("text_output", "BYTES", (-1,), optional=False)
TEXT_LENGTH: Final = "text_length"
FINISH_REASON: Final = Tensor("finish_reason", "BYTES", (-1,), optional=False)  # "" until the last delta; see below
TOKEN_COUNTS: Final = Tensor("token_counts", "INT32", (-1,), optional=False)  # prompt, cached, generated so far
REQUEST_IDS: Final = Tensor("request_ids", "BYTES", (-1,), optional=False)  # whose delta it is

# Request parameters. A request with `subscribe` true opens a channel that has the request's id for its name, for
# `CHANNEL_LEASE_S`; a request to NAME_engine whose `renew` is that name begins the lease anew. A request whose
# `channel` names an open channel gets its deltas there, in one message with those of others; its own responses are
# then only its end and its failure. Where there is no such channel, its deltas come as its own responses.
SUBSCRIBE: Final = "subscribe"
RENEW: Final = "renew"
CHANNEL: Final = "channel"
TOKEN_LENGTHS: Final = "token_lengths"  # noqa: S105  (a bool: list the `text_length` of each token in TEXT_OUTPUT)
CHANNEL_LEASE_S: Final = 8.0  # less than Triton waits for open requests when it stops

PREPROCESS_INPUTS: Final = (TEXT_INPUT, CHAT, PROMPT_TOKEN_IDS, STOP_WORDS, BAD_WORDS, PAD_ID)
PREPROCESS_OUTPUTS: Final = (INPUT_IDS, STOP_SEQUENCES, REFUSAL)
ENGINE_CLIENT_INPUTS: Final = (STREAM, END_ID, ROW_IDS, *SAMPLING_TENSORS)
ENGINE_INPUTS: Final = (INPUT_IDS, STOP_SEQUENCES, REFUSAL, STOP, *ENGINE_CLIENT_INPUTS)
ENGINE_OUTPUTS: Final = (OUTPUT_IDS, DELTA_LENGTHS, FINISH_REASON, TOKEN_COUNTS, REQUEST_IDS, LOGPROBS)
DETOKENIZE_INPUTS: Final = (OUTPUT_IDS, DELTA_LENGTHS, FINISH_REASON, LOGPROBS)
DETOKENIZE_OUTPUTS: Final = (TEXT_OUTPUT,)
ENSEMBLE_INPUTS: Final = (*PREPROCESS_INPUTS, *ENGINE_CLIENT_INPUTS)
ENSEMBLE_OUTPUTS: Final = (TEXT_OUTPUT, FINISH_REASON, TOKEN_COUNTS, REQUEST_IDS)

# The finish reason of one of several rows that fails is its error, as `errors.to_wire`: what Triton calls the error of
# a request would be that of all its rows.
FinishReason = Literal["", "stop", "length", "cancelled", "error"]
FINISH_REASONS: Final = frozenset(get_args(FinishReason))

STEPS: Final = ("preprocess", "engine", "detokenize")


def step_model(engine: str, step: str) -> str:
    """Name of the Triton model that runs `step` of the ensemble `engine`."""
    return f"{engine}_{step}"


def split_rows(tensors: Mapping[str, Sequence[Sequence[Any]]]) -> list[dict[str, Sequence[Any]]]:
    """The values of each row by the name of their tensor; a request without tensors is one row."""
    num_rows = max((len(values) for values in tensors.values()), default=1)
    return [{name: values[row] for name, values in tensors.items()} for row in range(num_rows)]


def strip_padding(ids: Sequence[int]) -> list[int]:
    """The ids of a row without the padding behind them."""
    length = len(ids)
    while length and ids[length - 1] == PADDING:
        length -= 1
    return list(ids[:length])


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a client can learn of an engine from Triton alone: the parameter `conch` of the ensemble's config."""

    max_seq_len: int  # tokens, prompt and answer together
    runtime: str
    created: int  # unix seconds of the build
    chat: bool  # the checkpoint has a chat template
    source: str  # where the checkpoint came from
    unsupported: tuple[str, ...] = ()  # sampling fields that this runtime refuses
    max_logprobs: int = 0  # how many alternatives to a token it can name

    def to_json(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        fields = json.loads(text)
        return cls(**{**fields, "unsupported": tuple(fields["unsupported"])})


CARD_PARAMETER: Final = "conch"
