"""OpenAI's Agents SDK: agents with tools, handoffs and sessions, over chat completions and Responses."""

from __future__ import annotations

from typing import Any, Literal

import harness
import pydantic
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from harness import AGENT, ANSWER, CAPITAL, CHAT, WEATHER, expect, row
from openai import AsyncOpenAI

# A small model repeats a call until its limit.
FORCED: dict[str, Any] = {"tool_choice": "required", "parallel_tool_calls": False}

set_tracing_disabled(True)  # it would report to OpenAI


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


@function_tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the weather of a city."""
    return ANSWER


def client() -> AsyncOpenAI:
    """A new one for each row: its connections belong to one event loop."""
    return AsyncOpenAI(base_url=harness.URL, api_key=harness.KEY)


def agent(name: str = "assistant", *, responses: bool = False, is_forced: bool = False, **more: Any) -> Any:
    model = (OpenAIResponsesModel if responses else OpenAIChatCompletionsModel)(model=CHAT, openai_client=client())
    settings = ModelSettings(temperature=0, max_tokens=150, **(FORCED if is_forced else {}))
    return Agent(name=name, model=model, model_settings=settings, **more)


async def streamed(one: Any, asked: str) -> Any:
    result = Runner.run_streamed(one, asked)
    kinds = {event.type async for event in result.stream_events()}
    expect({"raw_response_event", "run_item_stream_event"} <= kinds, kinds)
    return result


async def expect_tool_use(**fields: Any) -> None:
    asked = agent(tools=[get_weather], **fields)
    for result in (await Runner.run(asked, AGENT), await streamed(asked, AGENT)):
        expect(ANSWER in result.final_output, result)


async def expect_handoff(**fields: Any) -> None:
    other = agent("other", handoff_description="Knows France", **fields)
    first = agent("first", handoffs=[other], is_forced=True, **fields)
    for result in (await Runner.run(first, CAPITAL), await streamed(first, CAPITAL)):
        expect(result.last_agent.name == "other" and result.final_output, result)


@row("chat")
async def whole() -> None:
    session = SQLiteSession("one")
    first = await Runner.run(agent(), CAPITAL, session=session)
    expect("Paris" in first.final_output, first)
    expect((await Runner.run(agent(), "And of Germany?", session=session)).final_output)


@row("stream")
async def streams() -> None:
    expect("Paris" in (await streamed(agent(), CAPITAL)).final_output)


@row("tools")
async def tools() -> None:
    asked = agent(tools=[get_weather], is_forced=True, tool_use_behavior="stop_on_first_tool")
    expect((await Runner.run(asked, WEATHER)).final_output == ANSWER)


@row("agent")
async def runs_tools() -> None:
    await expect_tool_use()


@row("handoffs")
async def hands_off() -> None:
    await expect_handoff()
    await expect_handoff(responses=True)


@row("JSON schema, parsed")
async def parsed() -> None:
    for responses in (False, True):
        result = await Runner.run(agent(responses=responses, output_type=City), CAPITAL)
        expect(isinstance(result.final_output, City), result)


@row("responses")
async def over_responses() -> None:
    expect("Paris" in (await streamed(agent(responses=True), CAPITAL)).final_output)
    await expect_tool_use(responses=True)
    first = await Runner.run(agent(responses=True), CAPITAL)
    told = await Runner.run(agent(responses=True), "And of Germany?", previous_response_id=first.last_response_id)
    expect(told.final_output, told)


@row("conversations")
async def in_a_conversation() -> None:
    conversation = await client().conversations.create()
    asked = agent(responses=True, tools=[get_weather])
    expect(ANSWER in (await Runner.run(asked, AGENT, conversation_id=conversation.id)).final_output)
    expect((await Runner.run(agent(responses=True), CAPITAL, conversation_id=conversation.id)).final_output)
    kinds = [item.type async for item in client().conversations.items.list(conversation.id)]
    expect({"message", "function_call", "function_call_output"} <= set(kinds), kinds)


if __name__ == "__main__":
    harness.main("openai-agents")
