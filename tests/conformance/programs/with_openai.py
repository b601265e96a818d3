"""OpenAI's own client for Python, in the newest version and in 1.x: what the older one lacks, it has no row for."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import time
from typing import Any, Literal

import harness
import openai
import pydantic
from harness import AS_JSON, CAPITAL, CHAT, EMBED, FUNCTION, TOOL, WEATHER, expect, expect_weather, row

client = openai.OpenAI(base_url=harness.URL, api_key=harness.KEY)
MESSAGES: list[Any] = [{"role": "user", "content": CAPITAL}]
BATCH_DEADLINE_S = 120


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


def chat(**fields: Any) -> Any:
    return client.chat.completions.create(**{"model": CHAT, "messages": MESSAGES, "temperature": 0, **fields})


def calling(**fields: Any) -> dict[str, Any]:
    question = [{"role": "user", "content": WEATHER}]
    one = {"tool_choice": "required", "parallel_tool_calls": False}  # a small model repeats a call until its limit
    return {"messages": question, "tools": [TOOL], "max_tokens": 100, **one, **fields}


@row("chat")
def whole() -> None:
    answer = chat()
    expect("Paris" in answer.choices[0].message.content, answer)
    expect(answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens > 0, answer)


@row("stream")
def streamed() -> None:
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == chat().choices[0].message.content, text)
    expect(chunks[-1].usage.completion_tokens > 0, chunks[-1])


@row("async chat and stream")
async def asynchronous() -> None:
    async with openai.AsyncOpenAI(base_url=harness.URL, api_key=harness.KEY) as other:
        ask = other.chat.completions.create
        fields: dict[str, Any] = {"model": CHAT, "messages": MESSAGES, "temperature": 0}
        one, two = await asyncio.gather(ask(**fields), ask(**fields))
        stream: Any = await ask(**fields, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    expect(one.choices[0].message.content == two.choices[0].message.content == text, one, two, text)


@row("stream helper")
def helper() -> None:
    with client.chat.completions.stream(model=CHAT, messages=MESSAGES, temperature=0, logprobs=True) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    expect({"chunk", "content.delta", "content.done", "logprobs.content.done"} <= kinds, kinds)
    expect("Paris" in (final.choices[0].message.content or ""), final)


@row("tools")
def tools() -> None:
    answer = chat(**calling())
    call = answer.choices[0].message.tool_calls[0]
    expect(call.function.name == FUNCTION["name"] and answer.choices[0].finish_reason == "tool_calls", answer)
    expect_weather(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees and sunny"}
    asked = [*calling()["messages"], answer.choices[0].message, result]
    told = chat(messages=asked, tools=[TOOL], tool_choice="none", max_tokens=100)
    expect(told.choices[0].message.content, told)


@row("stream of tools")
def streamed_tools() -> None:
    whole = chat(**calling()).choices[0].message.tool_calls
    with client.chat.completions.stream(model=CHAT, temperature=0, **calling()) as stream:
        kinds = {event.type for event in stream}
        same = stream.get_final_completion().choices[0].message.tool_calls or []
    calls = [[(call.function.name, call.function.arguments) for call in answer] for answer in (whole, same)]
    expect(calls[0] == calls[1], calls)
    expect("tool_calls.function.arguments.done" in kinds, kinds)


@row("strict tools, parsed")
def parsed_tools() -> None:
    tool = openai.pydantic_function_tool(City, name="look_up")
    question = calling(messages=MESSAGES, tools=[tool])
    answer = client.chat.completions.parse(model=CHAT, temperature=0, **question)
    [call] = answer.choices[0].message.tool_calls or []
    expect(isinstance(call.function.parsed_arguments, City), call)


@row("JSON")
def json_object() -> None:
    asked = [{"role": "user", "content": AS_JSON}]
    answer = chat(messages=asked, response_format={"type": "json_object"}, max_tokens=200)
    expect(isinstance(json.loads(answer.choices[0].message.content), dict), answer)


@row("JSON schema, parsed")
def parse() -> None:
    answer = client.chat.completions.parse(
        model=CHAT, messages=MESSAGES, temperature=0, response_format=City, max_tokens=100
    )
    expect(isinstance(answer.choices[0].message.parsed, City), answer)
    fields: dict[str, Any] = {"model": CHAT, "messages": MESSAGES, "temperature": 0, "max_tokens": 100}
    with client.chat.completions.stream(**fields, response_format=City) as stream:
        expect(stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed, answer)


@row("logprobs and several choices")
def parameters() -> None:
    answer = chat(n=2, logprobs=True, max_tokens=8, stop=["\n"], seed=1, temperature=0.5)
    expect([choice.index for choice in answer.choices] == [0, 1], answer)
    expect(all(choice.logprobs.content for choice in answer.choices), answer)


@row("completions")
def completions() -> None:
    prompt = "The capital of France is"
    answer = client.completions.create(model=CHAT, prompt=prompt, max_tokens=5, temperature=0)
    stream = client.completions.create(model=CHAT, prompt=prompt, max_tokens=5, temperature=0, stream=True)
    expect("".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text, answer)


@row("models")
def models() -> None:
    expect({CHAT, EMBED} <= {model.id for model in client.models.list()})
    expect(client.models.retrieve(CHAT).id == CHAT)


@row("errors")
def errors() -> None:
    for fields, kind in (({"model": "none"}, openai.NotFoundError), ({"temperature": -1}, openai.BadRequestError)):
        try:
            chat(**fields)
        except kind as error:
            expect(error.type == "invalid_request_error" and error.request_id and error.body, error)
        else:
            raise AssertionError(f"{fields} was accepted")


@row("raw answers")
def raw() -> None:
    answer = client.chat.completions.with_raw_response.create(model=CHAT, messages=MESSAGES, max_tokens=4)
    expect(answer.headers["x-request-id"] == answer.parse()._request_id, answer.headers)


@row("embeddings")
def embeddings() -> None:
    packed = client.embeddings.create(model=EMBED, input=["a king", "a queen"])  # base64 unless it is told otherwise
    plain = client.embeddings.create(model=EMBED, input=["a king", "a queen"], encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        expect(max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6)
    expect(len(plain.data) == 2 and plain.usage.prompt_tokens > 0, plain.usage)


def _response(**fields: Any) -> Any:
    return client.responses.create(**{"model": CHAT, "input": CAPITAL, "temperature": 0, **fields})


@row("responses")
def responses() -> None:
    first = _response(instructions="You are a helpful assistant.")
    expect("Paris" in first.output_text and first.status == "completed" and first.usage.total_tokens, first)
    second = _response(input="And of Germany?", previous_response_id=first.id)
    expect(second.previous_response_id == first.id, second)
    expect(client.responses.retrieve(first.id).output_text == first.output_text)
    expect([item.role for item in client.responses.input_items.list(first.id).data] == ["user"])
    client.responses.delete(first.id)


@row("responses, streamed")
def streamed_responses() -> None:
    with client.responses.stream(model=CHAT, input=CAPITAL, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    expect(kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds)
    expect(final.output_text == _response().output_text, final)


@row("responses, tools")
def response_tools() -> None:
    tool = {"type": "function", "strict": True, **FUNCTION}
    first = _response(input=WEATHER, tools=[tool], tool_choice="required")
    call = first.output[-1]
    expect(call.type == "function_call" and call.name == FUNCTION["name"], first)
    expect_weather(call.arguments)
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    expect(_response(input=[told], tools=[tool], tool_choice="none", previous_response_id=first.id).output_text)


@row("responses, parsed")
def parsed_response() -> None:
    answer = client.responses.parse(model=CHAT, input=CAPITAL, temperature=0, text_format=City)
    expect(isinstance(answer.output_parsed, City), answer)


@row("responses, in the background")
def background() -> None:
    answer = _response(background=True)
    deadline = time.monotonic() + BATCH_DEADLINE_S
    while answer.status in {"queued", "in_progress"} and time.monotonic() < deadline:
        time.sleep(0.2)
        answer = client.responses.retrieve(answer.id)
    expect(answer.status == "completed" and "Paris" in answer.output_text, answer)


@row("files and batches")
def batches() -> None:
    bodies = [{"model": CHAT, "messages": MESSAGES, "max_tokens": 8, "temperature": 0} for _ in range(2)]
    lines = [
        json.dumps({"custom_id": str(place), "method": "POST", "url": "/v1/chat/completions", "body": body})
        for place, body in enumerate(bodies)
    ]
    file = client.files.create(file=("in.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"of": "a test"}
    )
    deadline = time.monotonic() + BATCH_DEADLINE_S
    while batch.status not in {"completed", "failed", "expired", "cancelled"} and time.monotonic() < deadline:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    expect(batch.status == "completed" and batch.request_counts and batch.request_counts.completed == 2, batch)
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id or "").text.splitlines()]
    expect({answer["custom_id"] for answer in answers} == {"0", "1"}, answers)
    expect(batch.id in {one.id for one in client.batches.list()})
    client.files.delete(file.id)


if int(openai.__version__.split(".")[0]) >= 3:
    importlib.import_module("openai_newest")

if __name__ == "__main__":
    harness.main("openai")
