"""From the items of a conversation to the messages that a chat template reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.answers.calls.custom_input import arguments_of
from gateway.dialects.responses.items import Json
from triton_repo.contract.errors import InvalidRequest

_SYSTEM: Final = ("system", "developer")  # the latter is OpenAI's newer name, which most templates drop in silence


def messages(instructions: str | None, items: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The messages of a chat. Reasoning, text and calls that follow one another are one message of the assistant;
    instructions and the system messages that the conversation begins with are one too, since most templates take only
    one, at the beginning.

    Args:
        items: as `items.numbered` and `output.Output` give them.

    Raises:
        InvalidRequest: an output answers no call.
    """
    conversation = _Conversation()
    if instructions:
        conversation.add_system(instructions)
    for item in items:
        conversation.add(item)
    return conversation.messages


class _Conversation:
    def __init__(self) -> None:
        self.messages: list[Json] = []
        self._names: dict[str, str] = {}  # of the functions that were called, by the id of the call

    def add(self, item: Mapping[str, Any]) -> None:
        match item["type"]:
            case "message" if item["role"] == "assistant":
                self._answer("content", _text(item["content"]))
            case "message" if item["role"] in _SYSTEM:
                self.add_system(_text(item["content"]))
            case "message":
                self.messages.append({"role": "user", "content": _text(item["content"])})
            case "reasoning":
                self._answer("reasoning_content", _text(item["content"]))
            case "function_call":
                self._call(item)
            case "custom_tool_call":
                self._call({**item, "arguments": arguments_of(item["input"])})
            case "function_call_output" | "custom_tool_call_output":
                self._output(item)

    def add_system(self, text: str) -> None:
        if [message["role"] for message in self.messages] == ["system"]:
            self.messages[0]["content"] += f"\n\n{text}"
        else:
            self.messages.append({"role": "system", "content": text})

    def _assistant(self, *, before_calls: bool) -> Json:
        """The message of the assistant's turn that is under way, or a new one."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant" or (before_calls and "tool_calls" in last):
            last = {"role": "assistant", "content": ""}
            self.messages.append(last)
        return last

    def _answer(self, field: str, text: str) -> None:
        message = self._assistant(before_calls=True)
        message[field] = message.get(field, "") + text

    def _call(self, item: Mapping[str, Any]) -> None:
        function = {"name": item["name"], "arguments": item["arguments"]}
        self._names[item["call_id"]] = item["name"]
        calls = self._assistant(before_calls=False).setdefault("tool_calls", [])
        calls.append({"id": item["call_id"], "type": "function", "function": function})

    def _output(self, item: Mapping[str, Any]) -> None:
        id = item["call_id"]
        name = self._names.get(id)
        if name is None:
            raise InvalidRequest(f"input: no call with call_id {id[:64]!r} is before its output", "input")
        self.messages.append({"role": "tool", "tool_call_id": id, "name": name, "content": item["output"]})


def _text(content: Sequence[Mapping[str, Any]]) -> str:
    return "".join(part["text"] for part in content)
