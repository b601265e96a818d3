"""Anthropic's own client for Python, on the Messages API."""

from __future__ import annotations

from typing import Any

import anthropic
import harness
import pydantic
from harness import AGENT, ANSWER, CAPITAL, CHAT, FUNCTION, WEATHER, WEATHER_SCHEMA, expect, expect_weather, row

client = anthropic.Anthropic(base_url=harness.ROOT, api_key=harness.KEY)
TOOL: Any = {"name": FUNCTION["name"], "description": FUNCTION["description"], "input_schema": WEATHER_SCHEMA}


class City(pydantic.BaseModel):
    name: str
    country: str


def fields(question: str = CAPITAL, **more: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    greedy = {"temperature": 0}  # the newest clients have no argument for it
    return {"model": CHAT, "messages": messages, "max_tokens": 100, "extra_body": greedy, **more}


@row("chat")
def whole() -> None:
    answer = client.messages.create(**fields())
    expect("Paris" in answer.content[0].text and answer.stop_reason == "end_turn", answer)
    expect(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer)


@row("stream")
def streamed() -> None:
    with client.messages.stream(**fields()) as stream:
        kinds = [event.type for event in stream]
        final: Any = stream.get_final_message()
    expect(final.content[0].text == client.messages.create(**fields()).content[0].text, final)
    expect(kinds[0] == "message_start" and "text" in kinds and kinds[-1] == "message_stop", kinds)


@row("async chat and stream")
async def asynchronous() -> None:
    async with anthropic.AsyncAnthropic(base_url=harness.ROOT, api_key=harness.KEY) as other:
        async with other.messages.stream(**fields()) as stream:
            text = "".join([part async for part in stream.text_stream])
        expect((await other.messages.create(**fields())).content[0].text == text, text)


@row("tools")
def tools() -> None:
    named = {"type": "tool", "name": TOOL["name"], "disable_parallel_tool_use": True}
    asked = fields(WEATHER, tools=[TOOL], tool_choice=named)
    answer = client.messages.create(**asked)
    call = next(block for block in answer.content if block.type == "tool_use")
    expect(answer.stop_reason == "tool_use", answer)
    expect_weather(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": ANSWER}]}
    turns = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    asked |= {"messages": [*asked["messages"], *turns], "tool_choice": {"type": "none"}}
    expect(client.messages.create(**asked).content[0].type == "text")


@row("stream of tools")
def streamed_tools() -> None:
    asked = fields(WEATHER, tools=[TOOL], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    with client.messages.stream(**asked) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        [call] = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    expect_weather("".join(parts))
    expect_weather(call.input)


@row("tool runner")
def runner() -> None:
    asked: list[tuple[str, str]] = []

    @anthropic.beta_tool
    def get_weather(city: str, unit: str) -> str:
        """Get the weather of a city.

        Args:
            city: The city
            unit: celsius or fahrenheit
        """
        asked.append((city, unit))
        return ANSWER

    for stream in (False, True):
        runner: Any = client.beta.messages.tool_runner(**fields(AGENT), tools=[get_weather], stream=stream)
        expect(ANSWER in runner.until_done().content[0].text)
    expect(asked == [("Paris", "celsius")] * 2, asked)


@row("JSON schema, parsed")
def parse() -> None:
    answer = client.messages.parse(**fields(), output_format=City)
    expect(isinstance(answer.parsed_output, City), answer)


@row("count_tokens")
def count() -> None:
    asked = fields()
    counted = client.messages.count_tokens(model=CHAT, messages=asked["messages"])
    expect(counted.input_tokens == client.messages.create(**asked).usage.input_tokens, counted)


@row("models")
def models() -> None:
    expect(CHAT in {model.id for model in client.models.list()})
    expect(client.models.retrieve(CHAT).id == CHAT)


@row("errors")
def errors() -> None:
    wrong = (
        ({"model": "none"}, anthropic.NotFoundError),
        ({"extra_body": {"temperature": 9}}, anthropic.BadRequestError),
    )
    for change, kind in wrong:
        try:
            client.messages.create(**fields(**change))
        except kind as error:
            expect(error.body["type"] == "error" and error.request_id, error)
        else:
            raise AssertionError(f"{change} was accepted")


if __name__ == "__main__":
    harness.main("anthropic")
