"""Bodies of requests, and what a request asks of Triton's models."""

from __future__ import annotations

import asyncio
import atexit
import json
from collections.abc import Coroutine
from functools import cache
from typing import Any

import numpy as np

from gateway.batches.lines import Line, failed, read_line
from gateway.dialects.anthropic.messages import Messages
from gateway.dialects.dialect import Operation
from gateway.dialects.openai.chat import ChatCompletions
from gateway.dialects.openai.completions import Completions
from gateway.dialects.openai.encodings.operation import check_fields
from gateway.dialects.responses.create import CreateResponse
from gateway.endpoints.encode import OPERATIONS as ENCODER_OPERATIONS
from gateway.http.body import num_nodes, parse_object
from gateway.http.form import read_upload
from tests.conftest import ROOT
from tests.fuzz.target import Target, json_target
from tests.gateway.dialects.anthropic.agent_requests import ALL as AGENT_REQUESTS
from tests.gateway.scripted_backend import CARD
from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.errors import InvalidRequest, RequestError, from_wire, to_wire
from triton_repo.contract.steps import ENGINE_INPUTS, ENSEMBLE_INPUTS
from triton_repo.contract.tensors import Tensor
from triton_repo.engine.calls import Generate, parse_call
from triton_repo.engine.loop.rows import row_ids
from triton_repo.engine.request import parse_request
from triton_repo.preprocess.prompt import Prompt, PromptEncoder
from triton_repo.preprocess.rows import prepare

DEMO = ROOT / "engines" / "demo" / "checkpoint"
_CONFIG = engine_config(max_seq_len=256, vocab_size=512)

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CHATS: list[dict[str, Any]] = [
    {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True, "n": 2, "stop": ["a", "b"]},
    {
        "model": "demo",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "r", "refusal": "no"},
            {"role": "tool", "content": "42", "tool_call_id": "c", "name": "f"},
            {"role": "developer", "content": "y", "name": "z"},
        ],
        "max_completion_tokens": 5,
        "logprobs": True,
        "top_logprobs": 3,
        "chat_template_kwargs": {"a": {"b": [1]}},
        "stream_options": {"include_usage": False},
    },
]
COMPLETIONS: list[dict[str, Any]] = [
    {"model": "demo", "prompt": "Hello", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "seed": 7, "logprobs": 2},
    {"model": "demo", "prompt": [[1, 2], [3]], "stop_token_ids": [4], "frequency_penalty": -1.5, "best_of": 1, "n": 1},
    {"model": "demo", "prompt": ["a", "b"], "logit_bias": {}, "tools": [], "response_format": {"type": "text"}},
]
RESPONSES: list[dict[str, Any]] = [
    {"model": "demo", "input": "Hello", "instructions": "x", "max_output_tokens": 5, "store": False, "stream": True},
    {
        "model": "demo",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "y"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "42"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    },
]
ENCODINGS: list[dict[str, Any]] = [
    {"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8, "truncate_prompt_tokens": 5},
    {"model": "m", "input": [[1, 2], [3]], "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1},
    {"model": "m", "text_1": "a", "text_2": ["b", "c"], "input": "x", "truncate": "END", "user": "u"},
    {"model": "m", "input": "a", "stream_options": {"a": 1}, "response_format": {}, "structured_outputs": {}},
]
_LINES = b"\n".join(
    json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat}).encode()
    for chat in ({**CHATS[0], "stream": False}, CHATS[1])
)
_FORM = (
    b'multipart/form-data; boundary=xyz\n--xyz\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--xyz\r\ncontent-disposition: form-data; name="file"; filename="a/b.jsonl"\r\n'
    b"content-type: application/jsonl\r\n\r\n{}\n{}\r\n--xyz--\r\n"
)
ROWS: list[dict[str, Any]] = [
    {"tensors": {"input_ids": [[5, 6, 7]], "max_tokens": [[4]], "stream": [[True]]}, "parameters": {"logprobs": 2}},
    {
        "tensors": {"text_input": [["one"], ["two"]], "stop_words": [["a"], ["b"]], "row_ids": [["x"], ["y"]]},
        "parameters": {"add_special_tokens": False, "channel": "c", "stop_token_ids": "[1]"},
    },
    {
        "tensors": {"chat": [['{"messages": [{"role": "user", "content": "x"}]}']], "beam_width": [[1]]},
        "parameters": {},
    },
    {
        "tensors": {"prompt_token_ids": [[5, 6, -1], [7, 8, 9]], "temperature": [[0.5], [1]], "top_p": [[0.9], [1]]},
        "parameters": {"min_p": 0.1, "ignore_eos": True, "logprobs": 3, "token_lengths": True},
    },
    {"tensors": {"stop": [[True]]}, "parameters": {"subscribe": True, "renew": "x"}},
    {
        "tensors": {"input_ids": [[5]], "end_id": [[2]], "stop_sequences": [["[[1, 2]]"]], "rejection": [[""]]},
        "parameters": {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "a+", "lora_name": "x"},
    },
]


def fuzz_chat_body(data: bytes) -> None:
    _body(ChatCompletions(), data)


def fuzz_completion_body(data: bytes) -> None:
    _body(Completions(), data)


def fuzz_responses_body(data: bytes) -> None:
    _body(CreateResponse(), data)


def fuzz_messages_body(data: bytes) -> None:
    _body(Messages(), data)


def fuzz_encoding_body(data: bytes) -> None:
    """Of the endpoints that embed, score, rank and classify."""
    try:
        fields = _completed(parse_object(data))
    except RequestError:
        return
    for operation in ENCODER_OPERATIONS:
        try:
            check_fields(fields, operation.body)
            operation.parse(fields)
        except RequestError as error:
            error.message.encode()  # it is sent as JSON


def fuzz_batch_line(data: bytes) -> None:
    """Lines of a batch's input file; the body of each goes the way of a request's."""
    for number, text in enumerate(data.split(b"\n"), start=1):
        line = read_line(number, text, "/v1/chat/completions")
        if isinstance(line, Line):
            failed(line, "1", InvalidRequest(line.custom_id, "x"))
            fuzz_chat_body(line.body)


def fuzz_upload(data: bytes) -> None:
    """A multipart form, its first line the header that says so."""
    kind, _, body = data.partition(b"\n")
    scope = {"type": "http", "headers": [(b"content-type", kind)]}
    sent = [
        {"type": "http.request", "body": body[:100], "more_body": True},
        {"type": "http.request", "body": body[100:], "more_body": False},
    ]

    async def receive() -> Any:
        return sent.pop(0)

    async def read() -> None:
        async with read_upload(scope, receive, "file", 1000, 60) as upload:
            assert "/" not in upload.filename
            assert sum([len(piece) async for piece in upload.pieces()]) <= 1000

    try:
        _loop().run_until_complete(read())
    except RequestError as error:
        assert error.status in {400, 413, 415}, error
        error.message.encode()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def _body(operation: Operation, data: bytes) -> None:
    _completed(num_nodes(data, 16))
    try:
        call = operation.parse(_completed(parse_object(data)))
        call.request.generations("id", CARD, 1 << 20)
    except RequestError as error:
        assert error.status in {400, 404}, error
        error.message.encode()  # it is sent as JSON


def _completed(steps: Coroutine[Any, Any, Any]) -> Any:
    """What it returns; it waits for nothing but its next turn."""
    while True:
        try:
            steps.send(None)
        except StopIteration as end:
            return end.value


def fuzz_tensors(data: bytes) -> None:
    """The tensors and parameters of a KServe request, as Triton hands them to preprocess and to the engine."""
    try:
        wire = json.loads(data)
        tensors = {name: _as_triton_checks_it(_TENSORS[name], values) for name, values in wire["tensors"].items()}
        parameters = {name: value for name, value in wire["parameters"].items() if isinstance(value, _SCALAR)}
        if len({len(rows) for rows in tensors.values()}) != 1:
            return
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return  # no request that Triton would hand over
    try:
        _preprocess_and_parse(tensors, parameters)
    except RequestError as error:
        assert error.status == 400, error
        assert from_wire(to_wire(error)) is not None


_TENSORS = {tensor.name: tensor for tensor in (*ENSEMBLE_INPUTS, *ENGINE_INPUTS)}
_SCALAR = str | bool | int | float  # what a parameter of Triton can be
_KINDS = {"BOOL": np.bool_, "INT32": np.int32, "UINT64": np.uint64, "FP16": np.float16, "FP32": np.float32}


def _as_triton_checks_it(tensor: Tensor, values: Any) -> Any:
    """The values, as a model reads them from the tensor. Raises what says that type or shape are not its own."""
    if tensor.datatype == "BYTES":
        array = np.array([[value.encode(errors="surrogatepass") for value in row] for row in values], dtype=object)
    else:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=_KINDS[tensor.datatype])
    sizes = array.shape[1:]
    if array.ndim != 1 + len(tensor.dims) or any(
        dim not in {-1, size} for dim, size in zip(tensor.dims, sizes, strict=True)
    ):
        raise ValueError(tensor.name)
    return array.tolist()


def _preprocess_and_parse(tensors: Any, parameters: Any) -> None:
    call = parse_call("id", tensors, parameters)
    if not isinstance(call, Generate):
        return
    if len(call.rows) > 1:
        row_ids(call.rows, "id")
    prepared = prepare(call.rows, parameters, encoder())
    assert all(rejection is None or rejection.status == 400 for rejection in prepared.rejections)
    for row, ids in zip(call.rows, prepared.input_ids, strict=True):
        parse_request({"input_ids": ids, **row}, parameters, _CONFIG)


@cache
def encoder() -> PromptEncoder:
    loaded = PromptEncoder.load(DEMO, 256)
    atexit.register(loaded.close)
    return loaded


def fuzz_chat_json(data: bytes) -> None:
    """The `chat` tensor, through the demo's own chat template and tokenizer."""
    for prompt in (Prompt(chat=data), Prompt(text=data), Prompt(text=b"x", stop_words=[data])):
        try:
            ids = encoder().encode(prompt)
            encoder().stop_sequences(prompt.stop_words)
        except RequestError as error:
            assert error.status == 400, error
        else:
            assert 0 < len(ids) < 256


@cache
def targets() -> tuple[Target, ...]:
    return (
        json_target("chat_body", fuzz_chat_body, CHATS),
        json_target("completion_body", fuzz_completion_body, COMPLETIONS),
        json_target("responses_body", fuzz_responses_body, RESPONSES),
        json_target("messages_body", fuzz_messages_body, AGENT_REQUESTS),
        json_target("encoding_body", fuzz_encoding_body, ENCODINGS),
        Target("batch_line", fuzz_batch_line, [_LINES], (b"\n", b"\r", b'"body"', b"{", b"}")),
        Target("upload", fuzz_upload, [_FORM], (b"\r\n", b"--", b"; filename=", b"filename*=utf-8''x", b"\r\n\r\n")),
        json_target("tensors", fuzz_tensors, ROWS),
        json_target("chat_json", fuzz_chat_json, [{**chat, "tools": None, "template_arguments": {}} for chat in CHATS]),
    )
