"""LiteLLM's SDK, as it calls servers that speak OpenAI's API, OpenAI's own client's names, vLLM's and Anthropic's."""

from __future__ import annotations

import json
from typing import Any, Literal

import harness
import litellm
import pydantic
from harness import AGENT, ANSWER, AS_JSON, CAPITAL, CHAT, EMBED, TOOL, WEATHER, expect, expect_weather, row

ACCESS: dict[str, Any] = {"api_base": harness.URL, "api_key": harness.KEY}
ASKED = [{"role": "user", "content": CAPITAL}]


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


def chat(provider: str = "openai", **more: Any) -> Any:
    fields = {"model": f"{provider}/{CHAT}", "messages": ASKED, "temperature": 0, "max_tokens": 100}
    return litellm.completion(**{**fields, **ACCESS, **more})


@row("chat")
def whole() -> None:
    for provider in ("openai", "hosted_vllm", "custom_openai"):
        answer = chat(provider)
        expect("Paris" in answer.choices[0].message.content and answer.usage.total_tokens, provider, answer)


@row("stream")
def streamed() -> None:
    for provider in ("openai", "hosted_vllm"):
        chunks = list(chat(provider, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        expect(text == chat().choices[0].message.content and chunks[-1].usage.total_tokens, text, chunks[-1])


@row("async chat and stream")
async def asynchronous() -> None:
    fields: dict[str, Any] = {"model": f"openai/{CHAT}", "messages": ASKED, "temperature": 0, **ACCESS}
    stream = await litellm.acompletion(**fields, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    expect((await litellm.acompletion(**fields)).choices[0].message.content == text, text)


def _asked_weather(**more: Any) -> dict[str, Any]:
    one = {"tool_choice": "required", "parallel_tool_calls": False}  # a small model repeats a call until its limit
    return {"messages": [{"role": "user", "content": WEATHER}], "tools": [TOOL], **one, **more}


@row("tools")
def tools() -> None:
    for call in chat(**_asked_weather()).choices[0].message.tool_calls:
        expect_weather(call.function.arguments)


@row("stream of tools")
def streamed_tools() -> None:
    chunks = list(chat(**_asked_weather(stream=True)))
    built: Any = litellm.stream_chunk_builder(chunks)
    whole = chat(**_asked_weather()).choices[0].message.tool_calls
    pairs = [
        [(call.function.name, call.function.arguments) for call in calls]
        for calls in (built.choices[0].message.tool_calls, whole)
    ]
    expect(pairs[0] == pairs[1] and built.choices[0].finish_reason == "tool_calls", built)


@row("agent")
def agent() -> None:
    messages: list[Any] = [{"role": "user", "content": AGENT}]
    answer = chat(messages=messages, tools=[TOOL]).choices[0].message
    [call] = answer.tool_calls
    messages += [answer, {"role": "tool", "tool_call_id": call.id, "content": ANSWER}]
    expect(ANSWER in chat(messages=messages, tools=[TOOL]).choices[0].message.content)


@row("JSON")
def json_object() -> None:
    asked = [{"role": "user", "content": AS_JSON}]
    answer = chat(messages=asked, response_format={"type": "json_object"}, max_tokens=200)
    expect(isinstance(json.loads(answer.choices[0].message.content), dict), answer)


@row("JSON schema, parsed")
def structured() -> None:
    expect(City.model_validate_json(chat(response_format=City).choices[0].message.content))


@row("completions")
def completions() -> None:
    answer = litellm.text_completion(
        model=f"text-completion-openai/{CHAT}", prompt="The capital of France is", max_tokens=5, temperature=0, **ACCESS
    )
    expect(answer.choices[0].text, answer)


@row("responses")
def responses() -> None:
    answer = litellm.responses(model=f"openai/{CHAT}", input=CAPITAL, temperature=0, **ACCESS)
    expect("Paris" in answer.output[0].content[0].text, answer)
    stream = litellm.responses(model=f"openai/{CHAT}", input=CAPITAL, temperature=0, stream=True, **ACCESS)
    expect([event.type for event in stream][-1] == "response.completed")


@row("messages")
async def messages() -> None:
    """Anthropic's API, with the address of the server without /v1."""
    access: dict[str, Any] = {"api_base": harness.ROOT, "api_key": harness.KEY, "temperature": 0, "max_tokens": 100}
    answer: Any = await litellm.acompletion(model=f"anthropic/{CHAT}", messages=ASKED, **access)
    expect("Paris" in answer.choices[0].message.content, answer)
    stream: Any = await litellm.acompletion(model=f"anthropic/{CHAT}", **_asked_weather(stream=True), **access)
    built: Any = litellm.stream_chunk_builder([chunk async for chunk in stream])
    for call in built.choices[0].message.tool_calls:
        expect_weather(call.function.arguments)


@row("embeddings")
def embeddings() -> None:
    for provider in ("openai", "hosted_vllm"):
        answer = litellm.embedding(model=f"{provider}/{EMBED}", input=["a king", "a queen"], **ACCESS)
        expect(len(answer.data) == 2 and answer.data[0]["embedding"], answer)


@row("rerank")
def rerank() -> None:
    answer = litellm.rerank(
        model=f"hosted_vllm/{EMBED}", query="a king", documents=["a queen", "a banana"], top_n=2, **ACCESS
    )
    expect(len(answer.results) == 2, answer)


if __name__ == "__main__":
    harness.main("litellm")
