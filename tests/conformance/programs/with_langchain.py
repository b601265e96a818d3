"""LangChain's OpenAI integration: chat, completions and Responses, tools, structured output, embeddings."""

from __future__ import annotations

from typing import Any, Literal

import harness
import pydantic
from harness import AGENT, ANSWER, AS_JSON, CAPITAL, CHAT, EMBED, WEATHER, expect, expect_weather, row
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

ACCESS: dict[str, Any] = {"base_url": harness.URL, "api_key": harness.KEY}


class City(pydantic.BaseModel):
    """A city."""

    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the weather of a city."""
    return ANSWER


def model(**more: Any) -> Any:
    return ChatOpenAI(**{"model": CHAT, "temperature": 0, "max_tokens": 100, **ACCESS, **more})


@row("chat")
def whole() -> None:
    answer = model().invoke(CAPITAL)
    expect("Paris" in answer.content and answer.usage_metadata["total_tokens"] > 0, answer)
    expect(answer.response_metadata["finish_reason"] == "stop", answer)


@row("stream")
def streamed() -> None:
    chunks = list(model(stream_usage=True).stream(CAPITAL))
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined += chunk
    expect(joined.content == model().invoke(CAPITAL).content and joined.usage_metadata, joined)


@row("async chat and stream")
async def asynchronous() -> None:
    [one, two] = await model().abatch([CAPITAL, CAPITAL])
    text = "".join([chunk.content async for chunk in model().astream(CAPITAL)])
    expect(one.content == two.content == text, one, two, text)


@row("tools")
def tools() -> None:
    bound = model().bind_tools([get_weather], tool_choice="get_weather")
    [call] = bound.invoke(WEATHER).tool_calls
    expect_weather(call["args"])


@row("stream of tools")
def streamed_tools() -> None:
    joined: Any = None
    for chunk in model().bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False).stream(WEATHER):
        joined = chunk if joined is None else joined + chunk
    [call] = joined.tool_calls
    expect_weather(call["args"])


@row("agent")
def agent() -> None:
    bound = model().bind_tools([get_weather])
    messages: list[Any] = [HumanMessage(AGENT)]
    answer = bound.invoke(messages)
    expect(answer.tool_calls, answer)
    messages += [answer, *(get_weather.invoke(call) for call in answer.tool_calls)]
    expect(ANSWER in bound.invoke(messages).content)


@row("JSON")
def json_mode() -> None:
    found = model().with_structured_output(None, method="json_mode").invoke(AS_JSON)
    expect(isinstance(found, dict), found)


@row("JSON schema, parsed")
def structured() -> None:
    for method in ("json_schema", "function_calling"):
        found = model().with_structured_output(City, method=method).invoke(CAPITAL)
        expect(isinstance(found, City), method, found)


@row("completions")
def completions() -> None:
    asked = OpenAI(model=CHAT, temperature=0, max_tokens=5, **ACCESS)
    expect(asked.invoke("The capital of France is") == "".join(asked.stream("The capital of France is")))


@row("logprobs")
def logprobs() -> None:
    answer = model(logprobs=True, max_tokens=4).invoke(CAPITAL)
    expect(len(answer.response_metadata["logprobs"]["content"]) == 4, answer)


@row("responses")
def responses() -> None:
    asked = model(use_responses_api=True)
    expect("Paris" in asked.invoke(CAPITAL).text)
    expect("Paris" in "".join(chunk.text for chunk in asked.stream(CAPITAL)))
    [call] = asked.bind_tools([get_weather], tool_choice="get_weather").invoke(WEATHER).tool_calls
    expect_weather(call["args"])
    expect(isinstance(asked.with_structured_output(City).invoke(CAPITAL), City))


@row("embeddings")
def embeddings() -> None:
    """As texts: by default LangChain sends token ids of OpenAI's tokenizer, which mean nothing to other models."""
    asked = OpenAIEmbeddings(model=EMBED, check_embedding_ctx_length=False, **ACCESS)
    [one, two] = asked.embed_documents(["a king", "a queen"])
    expect(len(one) == len(two) == len(asked.embed_query("a king")), len(one))


if __name__ == "__main__":
    harness.main("langchain-openai")
