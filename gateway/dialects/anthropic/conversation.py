"""From the messages of a request to those that chat templates read, which are OpenAI's.

The results of tools come before the text of the same message, since templates want them right after the calls.
Messages of one role in a row become one, as in Anthropic's API: many templates want the roles to alternate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

import orjson

from gateway.answers.backend import Chat
from gateway.dialects.anthropic.blocks import (
    AssistantBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from gateway.dialects.anthropic.request import AnyMessage, AssistantMessage, CountTokensRequest, SystemMessage
from gateway.dialects.anthropic.tools import ToolDefinition, template_tool

Turn = dict[str, Any]

# The first line of the system prompt of some agents. It differs from request to request and says nothing to a model,
# but no prompt that begins with it is found in the cache of prompts.
_ATTRIBUTION: Final = "x-anthropic-billing-header:"
# Many templates reject a system message that is not the first, and agents mark such text in this way themselves.
_REMINDER: Final = "<system-reminder>\n{text}\n</system-reminder>"


def chat_of(body: CountTokensRequest, tools: Sequence[ToolDefinition]) -> Chat:
    """The prompt, with these of its tools."""
    chat = {
        "messages": template_messages(body),
        "tools": [template_tool(tool) for tool in tools] or None,
        "template_arguments": body.template_arguments,
    }
    return Chat(orjson.dumps(chat))


def template_messages(body: CountTokensRequest) -> list[Turn]:
    leading = list(takewhile(lambda message: isinstance(message, SystemMessage), body.messages))
    blocks = [*(body.system or ()), *(block for message in leading for block in message.content)]
    turns: list[Turn] = []
    if system := _system_text(blocks):
        turns.append({"role": "system", "content": system})
    names = _names_of_calls(body.messages)
    for message in body.messages[len(leading) :]:
        for turn in _turns(message, names):
            _add(turns, turn)
    return turns


def _system_text(blocks: Sequence[TextBlock]) -> str:
    return "".join(block.text for block in blocks if not block.text.startswith(_ATTRIBUTION))


def _names_of_calls(messages: Sequence[AnyMessage]) -> dict[str, str]:
    """The tool of each call, by its id."""
    calls = (block for message in messages for block in message.content if isinstance(block, ToolUseBlock))
    return {call.id: call.name for call in calls}


def _turns(message: AnyMessage, names: dict[str, str]) -> Iterator[Turn]:
    match message:
        case SystemMessage():
            if text := _system_text(message.content):
                yield {"role": "user", "content": _REMINDER.format(text=text)}
        case AssistantMessage():
            yield _answer(message.content)
        case _:
            results = [block for block in message.content if isinstance(block, ToolResultBlock)]
            for result in results:
                turn = {"role": "tool", "tool_call_id": result.tool_use_id, "content": result.text}
                yield turn | ({"name": names[result.tool_use_id]} if result.tool_use_id in names else {})
            if len(results) < len(message.content) or not results:
                texts = [block.text for block in message.content if not isinstance(block, ToolResultBlock)]
                yield {"role": "user", "content": "".join(texts)}


def _answer(blocks: Sequence[AssistantBlock]) -> Turn:
    turn: Turn = {"role": "assistant"}
    turn["content"] = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    if thinking := "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock)):
        turn["reasoning_content"] = thinking
    calls = [block for block in blocks if isinstance(block, ToolUseBlock)]
    if calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.input}}
            for call in calls
        ]
    return turn


def _add(turns: list[Turn], turn: Turn) -> None:
    """Join it to the turn before if that is of the same role. (Each result of a tool is a turn of its own.)"""
    if not turns or turns[-1]["role"] != turn["role"] or turn["role"] == "tool":
        turns.append(turn)
        return
    last = turns[-1]
    last["content"] = "\n\n".join(text for text in (last["content"], turn["content"]) if text)
    if "reasoning_content" in turn:
        last["reasoning_content"] = last.get("reasoning_content", "") + turn["reasoning_content"]
    if "tool_calls" in turn:
        last["tool_calls"] = [*last.get("tool_calls", ()), *turn["tool_calls"]]
