"""Pydantic AI: agents over chat completions, Responses and Anthropic's Messages."""

from __future__ import annotations

from typing import Any, Literal

import harness
import pydantic
from harness import AGENT, ANSWER, CAPITAL, CHAT, EMBED, expect, row
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

PROVIDER = OpenAIProvider(base_url=harness.URL, api_key=harness.KEY)
MODEL = OpenAIChatModel(CHAT, provider=PROVIDER)
SETTINGS: Any = {"temperature": 0, "max_tokens": 200}


class City(pydantic.BaseModel):
    """A city."""

    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the weather of a city."""
    return ANSWER


def agent(model: Any = MODEL, **more: Any) -> Any:
    return Agent(model, model_settings=SETTINGS, retries=0, **more)


def expect_tool_use(model: Any) -> None:
    expect(ANSWER in agent(model, tools=[get_weather]).run_sync(AGENT).output)


@row("chat")
def whole() -> None:
    result = agent().run_sync(CAPITAL)
    expect("Paris" in result.output, result)
    again = agent().run_sync("Say it again.", message_history=result.all_messages())
    expect(again.output, again)


@row("stream")
async def streamed() -> None:
    async with agent().run_stream(CAPITAL) as result:
        text = "".join([part async for part in result.stream_text(delta=True)])
    expect("Paris" in text, text)


@row("tools")
def tools() -> None:
    found = agent(output_type=ToolOutput(City)).run_sync(CAPITAL).output
    expect(isinstance(found, City), found)


@row("agent")
def runs_tools() -> None:
    expect_tool_use(MODEL)


@row("agent, streamed")
async def streams_tools() -> None:
    async with agent(tools=[get_weather]).run_stream(AGENT) as result:
        text = await result.get_output()
    expect(ANSWER in text, text)


@row("JSON schema, parsed")
def structured() -> None:
    found = agent(output_type=NativeOutput(City)).run_sync(CAPITAL).output
    expect(isinstance(found, City), found)


@row("responses")
def responses() -> None:
    model = OpenAIResponsesModel(CHAT, provider=PROVIDER)
    expect("Paris" in agent(model).run_sync(CAPITAL).output)
    expect_tool_use(model)
    expect(isinstance(agent(model, output_type=NativeOutput(City)).run_sync(CAPITAL).output, City))


@row("messages")
def messages() -> None:
    model = AnthropicModel(CHAT, provider=AnthropicProvider(base_url=harness.ROOT, api_key=harness.KEY))
    expect("Paris" in agent(model).run_sync(CAPITAL).output)
    expect_tool_use(model)
    expect(isinstance(agent(model, output_type=ToolOutput(City)).run_sync(CAPITAL).output, City))


@row("embeddings")
async def embeddings() -> None:
    from pydantic_ai import Embedder
    from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel

    provider = OpenAIProvider(base_url=harness.URL, api_key=harness.KEY)  # its connections belong to one event loop
    result = await Embedder(OpenAIEmbeddingModel(EMBED, provider=provider)).embed_documents(["a king", "a queen"])
    expect(len(result.embeddings) == 2)


if __name__ == "__main__":
    harness.main("pydantic-ai-slim")
