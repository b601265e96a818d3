"""The wire format of the ensemble: every tensor and request parameter by name, type and shape, declared once.

Names follow NVIDIA's stock TensorRT-LLM ensemble where it has one, so that a client written for it works unchanged.
Dims leave out the batch dimension, as in `config.pbtxt`. A request may have several rows, each of which asks for one
answer: on the wire every tensor of a request has a leading N, the number of rows. `steps.py` says which step takes and
gives which tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, Literal, get_args

Datatype = Literal["BYTES", "BOOL", "INT32", "UINT64", "FP16", "FP32"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a Triton model; `datatype` is KServe v2's name for it, -1 in `dims` is a variable length."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...] = (1,)
    optional: bool = True


# --- What a client sends to the ensemble NAME ---
TEXT_INPUT: Final = Tensor("text_input", "BYTES")
CHAT: Final = Tensor("chat", "BYTES")  # JSON: {"messages": [...], "tools": [...], "template_arguments": {...}}
PROMPT_TOKEN_IDS: Final = Tensor("prompt_token_ids", "INT32", (-1,))  # a prompt that is already tokenized
STOP_WORDS: Final = Tensor("stop_words", "BYTES", (-1,))
STREAM: Final = Tensor("stream", "BOOL")
END_ID: Final = Tensor("end_id", "INT32")
EXCLUDE_INPUT_IN_OUTPUT: Final = Tensor("exclude_input_in_output", "BOOL")  # false: begin a whole answer with it
ROW_IDS: Final = Tensor("row_ids", "BYTES")  # of several rows the request id of each; default: REQUEST_ID/ROW_NUMBER
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
    Tensor("priority", "FP32"),  # no request parameter: Triton has one of that name
)
# Other names of sampling fields: those of NVIDIA's ensemble until 0.19.
SAMPLING_ALIASES: Final[Mapping[Tensor, str]] = {
    Tensor("random_seed", "UINT64"): "seed",
    Tensor("min_length", "INT32"): "min_tokens",
}
# Sampling fields that may be tensors or request parameters.
GUIDE_TENSORS: Final = (Tensor("guided_decoding_guide_type", "BYTES"), Tensor("guided_decoding_guide", "BYTES"))

# Sampling fields that are request parameters: an ensemble hands the parameters of a request to every step. A list or an
# object is sent as JSON text, because a Triton parameter is a scalar.
SAMPLING_PARAMETERS: Final = (
    "min_p",
    "ignore_eos",
    "stop_token_ids",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
    "lora_name",
    "logprobs",
    "prompt_logprobs",
    "cache_salt",
    "logit_bias",
)

# --- From preprocess to engine ---
INPUT_IDS: Final = Tensor("input_ids", "INT32", (-1,))  # optional, because a `stop` request has no prompt
PADDING: Final = -1  # fills up the ids of a row to the length of the longest one; never part of a prompt
REJECTION: Final = Tensor("rejection", "BYTES")  # the error of a row that was rejected (`errors.to_wire`), else ""
STOP_SEQUENCES: Final = Tensor("stop_sequences", "BYTES")  # JSON: sequences of token ids that end the generation
# Of a request to NAME_preprocess itself, with TOKENIZE: JSON, {"text": the prompt's, "pieces": those of its tokens}.
TOKEN_TEXTS: Final = Tensor("token_texts", "BYTES")
STOP: Final = Tensor("stop", "BOOL")  # sent to NAME_engine itself, with the id of the request to cancel

# --- From engine to detokenize ---
# One message holds any number of deltas, each of one request; without a channel it holds one. Every tensor holds the
# values of the first delta, then those of the second, and so on.
OUTPUT_IDS: Final = Tensor("output_ids", "INT32", (-1,), optional=False)  # per delta: context ids, then new ids
# Per delta three numbers: how many context ids it has, how many ids in all, and its `DeltaFlags`. After those of all
# deltas the contexts of the first and the last deltas of requests that are traced (`tracing.steps.Step.context`).
DELTA_LENGTHS: Final = Tensor("delta_lengths", "INT32", (-1,), optional=False)
# Only in a message in which some delta lists tokens: one element per delta, `logprobs.to_json`, `logprobs.LENGTHS_ONLY`
# or ""; then, if some delta tells its prompt, one more per delta, `logprobs.prompt_to_json` or "". (Triton lets a step
# of an ensemble leave out an optional input of the next.)
LOGPROBS: Final = Tensor("logprobs", "BYTES", (-1,))

# How many ids sent before the engine repeats as context, so that detokenization needs no memory. A UTF-8 character has
# at most 4 bytes, so it lies in at most 4 tokens: up to 3 context ids may be the start of the character that the new
# ids complete, and up to 3 the rest of one that began before the context.
MAX_CONTEXT_IDS: Final = 6


class DeltaFlags(IntFlag):
    """How the detokenizer is to read a delta."""

    KEEPS_SPECIAL = 1  # its text shows special tokens
    SILENT_END = 2  # its last id has ended the answer and leaves no text
    LISTS_IDS = 4  # its list of tokens has their ids


NO_FLAGS: Final = DeltaFlags(0)

# --- What the ensemble answers: one value per delta of a message ---
# If some request of the message asked for `logprobs` or `token_lengths`, TEXT_OUTPUT holds after the texts one more
# element per delta ("" for a delta without): JSON, a list of the delta's tokens as in OpenAI's
# `choices[].logprobs.content`, each with the number of characters that it adds to the text, `text_length`; for a
# request that asked for `token_lengths` alone, `text_length` is all that a token has, but for its `token_id` with
# `token_ids`. If some request asked for its prompt (`token_ids`, `prompt_logprobs`), one more element per delta
# follows, which is "" but for the first delta of such a request: JSON, see `PROMPT_IDS`. They have no tensor of their
# own: for every output that a message leaves out, an ensemble keeps a note as long as its request lasts (Triton's
# ensemble_scheduler.cc), and a channel lasts as long as it is used.
TEXT_OUTPUT: Final = Tensor("text_output", "BYTES", (-1,), optional=False)
TEXT_LENGTH: Final = "text_length"
TOKEN_ID: Final = "token_id"  # noqa: S105
# Members of the JSON of a prompt: its token ids, and of each the logprobs: null, or an object in vLLM's form.
PROMPT_IDS: Final = "token_ids"
PROMPT_LOGPROBS: Final = "logprobs"
FINISH_REASON: Final = Tensor("finish_reason", "BYTES", (-1,), optional=False)  # "" until the last delta; see below
TOKEN_COUNTS: Final = Tensor("token_counts", "INT32", (-1,), optional=False)  # prompt, cached, generated so far
NOT_REPORTED: Final = -1  # the cached tokens of a runtime that does not tell them
REQUEST_IDS: Final = Tensor("request_ids", "BYTES", (-1,), optional=False)  # the request of each delta

# The finish reason of a row that fails is its error, as `errors.to_wire`, if its request has several rows: an error
# response of Triton would fail all of them.
FinishReason = Literal["", "stop", "length", "cancelled", "error"]
FINISH_REASONS: Final = frozenset(get_args(FinishReason))

# --- Request parameters ---
# A request with `subscribe` true opens a channel, named by the request's id, for `CHANNEL_LEASE_S`. A request to
# NAME_engine with `renew` = that name extends the lease by as much. The deltas of a request whose `channel` names an
# open channel are sent there, in one message with those of others; its own responses are then only its end or its
# error. If that channel is not open, its deltas are its own responses.
SUBSCRIBE: Final = "subscribe"
RENEW: Final = "renew"
CHANNEL: Final = "channel"
REFRESH_ADAPTERS: Final = "refresh_adapters"  # a bool, to NAME_engine: have the adapters that its shelf lists
CHANNEL_LEASE_S: Final = 8.0  # shorter than Triton waits for open requests when it stops
# To NAME_preprocess itself: "ids" or "texts" (TOKEN_TEXTS too). No engine follows, so the prompt may have any length.
TOKENIZE: Final = "tokenize"
ADD_SPECIAL_TOKENS: Final = "add_special_tokens"  # a bool: tokenize `text_input` with BOS and the like; default true
CLIP_MAX_TOKENS: Final = "clip_max_tokens"  # a bool: a `max_tokens` beyond the room in the context is that room
TOKEN_LENGTHS: Final = "token_lengths"  # noqa: S105  (a bool: list the `text_length` of each token in TEXT_OUTPUT)
# A bool: list the `token_id` of each token too, that of the end token included, and tell those of the prompt.
TOKEN_IDS: Final = "token_ids"  # noqa: S105
ECHO: Final = "echo"  # "all": the answer begins with the prompt, "prompt": it is the prompt alone
Echo = Literal["", "all", "prompt"]
TRUNCATE_PROMPT_TOKENS: Final = "truncate_prompt_tokens"
KEEP_SPECIAL: Final = "keep_special"  # a bool: special tokens other than those that end an answer are part of its text


def split_rows(tensors: Mapping[str, Sequence[Sequence[Any]]]) -> list[dict[str, Sequence[Any]]]:
    """The values of each row by tensor name; a request without tensors is one row."""
    num_rows = max((len(values) for values in tensors.values()), default=1)
    return [{name: values[row] for name, values in tensors.items()} for row in range(num_rows)]


def strip_padding(ids: Sequence[int]) -> list[int]:
    """The ids of a row without the padding at their end."""
    length = len(ids)
    while length and ids[length - 1] == PADDING:
        length -= 1
    return list(ids[:length])
