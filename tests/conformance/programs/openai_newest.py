"""Rows of openai for Python that its version 1 has no methods for: decisions, conversations, custom tools, a runner."""

from __future__ import annotations

import re
from typing import Any

import harness
import openai
from harness import AGENT, ANSWER, CAPITAL, CHAT, FUNCTION, SCORED, expect, expect_weather, row
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner

client = openai.OpenAI(base_url=harness.URL, api_key=harness.KEY)
SUM = r"[1-9][0-9]? [+*] [1-9][0-9]?"
ADD = "Write the sum of two and three with digits."


@row("responses, tool runner")
def runs_tools() -> None:
    asked: list[object] = []

    def weather(arguments: dict[str, object]) -> str:
        asked.append(arguments)
        return ANSWER

    tool: Any = {"type": "function", "strict": True, **FUNCTION}
    for stream in (False, True):
        runner = ResponsesToolRunner(functions=[RegisteredFunction(tool, weather)])
        params: Any = {"model": CHAT, "input": AGENT, "temperature": 0, "max_output_tokens": 200}
        expect(ANSWER in runner.run(client, params, stream=stream, max_steps=3).output_text)
    expect(len(asked) == 2, asked)
    for arguments in asked:
        expect_weather(arguments)


@row("conversations")
def conversations() -> None:
    conversation = client.conversations.create(items=[{"role": "user", "content": "I am in Paris."}])
    fields: Any = {"model": CHAT, "conversation": conversation.id, "temperature": 0, "max_output_tokens": 50}
    first = client.responses.create(input=CAPITAL, **fields)
    second = client.responses.create(input="And of Germany?", **fields)
    expect(second.usage and first.usage and second.usage.input_tokens > first.usage.input_tokens, first, second)
    roles = [getattr(item, "role", None) for item in client.conversations.items.list(conversation.id, order="asc")]
    expect(roles == ["user", "user", "assistant", "user", "assistant"], roles)
    client.conversations.delete(conversation.id)


@row("custom tools")
def custom_tools() -> None:
    grammar = {"syntax": "regex", "definition": SUM}
    tool: Any = {"type": "custom", "custom": {"name": "sum", "format": {"type": "grammar", "grammar": grammar}}}
    fields: Any = {"model": CHAT, "temperature": 0, "tools": [tool], "max_tokens": 80}
    choice: Any = {"type": "custom", "custom": {"name": "sum"}}
    answer = client.chat.completions.create(messages=[{"role": "user", "content": ADD}], tool_choice=choice, **fields)
    [call] = answer.choices[0].message.tool_calls or []
    expect(call.type == "custom" and re.fullmatch(SUM, call.custom.input), answer)


@row("responses, custom tools")
def custom_tools_of_responses() -> None:
    tool: Any = {"type": "custom", "name": "sum", "format": {"type": "grammar", "syntax": "regex", "definition": SUM}}
    choice: Any = {"type": "custom", "name": "sum"}
    fields: Any = {"model": CHAT, "temperature": 0, "tools": [tool], "max_output_tokens": 80}
    with client.responses.stream(input=ADD, tool_choice=choice, **fields) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_response()
    [call] = [item for item in answer.output if item.type == "custom_tool_call"]
    expect(re.fullmatch(SUM, call.input) and "response.custom_tool_call_input.done" in kinds, call, kinds)
    told: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "5"}
    expect(
        client.responses.create(input=[told], previous_response_id=answer.id, tool_choice="none", **fields).output_text
    )


@row("decisions")
def decisions() -> None:
    predicate: Any = {"type": "predicate", "name": "capital", "instructions": "The text names a capital."}
    choice: Any = {
        "type": "choice",
        "instructions": "Which country?",
        "choices": [{"value": "France"}, {"value": "Peru"}],
    }
    decision = client.decisions.create(model=SCORED, input="Paris is a large city.", questions=[predicate, choice])
    first, second = (answer.to_dict() for answer in decision.answers)
    expect(first["name"] == "capital" and 0 < first["probability"] < 1, first)
    shares: Any = second["probabilities"]
    expect(abs(sum(share["probability"] for share in shares) - 1) < 1e-6 and second["choice"] == "France", second)
