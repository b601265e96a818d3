"""Tools through Triton and the gateway, as the official clients offer, call and answer them.

The demo model knows nothing of tools: what it calls, and how, is the work of guides.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import anthropic
import openai
import pytest
from anthropic import beta_tool
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel, Field

MODEL = "demo"
QUESTION = "How is the weather in Bonn?"
ASK: list[Any] = [{"role": "user", "content": QUESTION}]


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Bonn", "Paris"]
    days: int = Field(ge=1, le=5)


TOOL = openai.pydantic_function_tool(Weather)
FIELDS: dict[str, Any] = {"model": MODEL, "messages": ASK, "tools": [TOOL], "max_tokens": 200, "seed": 7}


@pytest.fixture(scope="module")
def client(gateway_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway_url}/v1", api_key="none", max_retries=0)


def test_a_required_call_is_parsed_into_the_model_of_its_tool(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(**FIELDS, tool_choice="required", parallel_tool_calls=False)
    [call] = answer.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)


def test_a_streamed_call_is_that_of_the_whole_answer(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {**FIELDS, "tool_choice": "required", "parallel_tool_calls": False, "temperature": 0}
    [whole] = client.chat.completions.parse(**fields).choices[0].message.tool_calls or []
    with client.chat.completions.stream(**fields) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [whole.function.parsed_arguments]
    assert done[0].arguments == whole.function.arguments


def test_strict_tools_that_the_model_may_call_leave_its_text_alone(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**{**FIELDS, "max_tokens": 40}, n=3)
    for choice in answer.choices:
        assert choice.message.content or choice.message.tool_calls
        assert choice.finish_reason in {"stop", "length", "tool_calls"}


def test_a_form_of_the_answer_and_tools_are_alternatives(client: openai.OpenAI) -> None:
    class Answer(BaseModel):
        text: str = Field(max_length=20)

    fields = {**FIELDS, "tool_choice": "auto", "response_format": Answer}
    message = client.chat.completions.parse(**fields).choices[0].message
    parsed = message.parsed or [call.function.parsed_arguments for call in message.tool_calls or ()]
    assert isinstance(parsed, Answer) or (parsed and all(isinstance(each, Weather) for each in parsed))


def test_a_call_its_result_and_the_answer_make_a_dialogue(client: openai.OpenAI) -> None:
    called = client.chat.completions.create(**FIELDS, tool_choice="required").choices[0].message
    calls = called.tool_calls or []
    results = [{"role": "tool", "tool_call_id": call.id, "content": json.dumps({"degrees": 21})} for call in calls]
    answer = client.chat.completions.create(**{**FIELDS, "messages": [*ASK, called, *results]}, tool_choice="none")
    assert calls
    assert (answer.choices[0].message.tool_calls, bool(answer.choices[0].message.content)) == (None, True)


def test_a_response_calls_and_is_given_the_result(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", **TOOL["function"]}
    first = client.responses.create(
        model=MODEL, input=QUESTION, tools=[tool], tool_choice="required", max_output_tokens=200
    )
    calls = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    assert calls
    assert all(Weather.model_validate_json(call.arguments) for call in calls)
    results: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"} for call in calls]
    second = client.responses.create(
        model=MODEL,
        input=results,
        previous_response_id=first.id,
        tools=[tool],
        tool_choice="none",
        max_output_tokens=40,
    )
    assert second.output_text


def test_anthropics_tool_runner_calls_the_function_and_sends_its_result(gateway_url: str) -> None:
    asked: list[tuple[str, int]] = []

    @beta_tool(input_schema=Weather)
    def weather(city: str, days: int) -> str:
        """The weather of a city."""
        asked.append((city, days))
        return "21 degrees"

    client = anthropic.Anthropic(base_url=gateway_url, api_key="none", max_retries=0)
    runner = client.beta.messages.tool_runner(
        model=MODEL,
        messages=ASK,
        tools=[weather],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        max_tokens=200,
        max_iterations=2,
    )
    messages = [*runner]
    assert [message.stop_reason for message in messages] == ["tool_use", "tool_use"]
    assert asked
    assert all(city in {"Bonn", "Paris"} and 1 <= days <= 5 for city, days in asked)
