"""Tools for chat templates that know none: in words, in the form of Hermes, which most small models have seen.

The tools become part of the system message, earlier calls part of the text of the answers that made them, and what the
tools answered a message of the user.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from triton_repo.preprocess.tool_history import parsed_arguments

_NAME: Final = "sentinel0function"
_SENTINEL: Final = "sentinel0of0the0system0message"
_TOOL: Final = {
    "type": "function",
    "function": {"name": _NAME, "description": "a", "parameters": {"type": "object", "properties": {}}},
}
_PROMPT: Final = """You can call functions. These are their signatures:
<tools>
{tools}
</tools>
To call a function, answer with its name and its arguments as JSON, between <tool_call> tags:
<tool_call>
{{"name": "<name of the function>", "arguments": {{"<name of an argument>": <its value>}}}}
</tool_call>
Call only functions from the list. The user sends you what they return. Answer in text if you need none of them."""


def reads_tools(render: Callable[[Sequence[Any], Any], str]) -> bool:
    """Whether the tools of a chat show in the prompt.

    Args:
        render: the template's text for these messages and tools; a template that raises reads them.
    """
    try:
        return _NAME in render([{"role": "user", "content": "a"}], [_TOOL])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (code of the checkpoint)
        return True


def reads_system(render: Callable[[Sequence[Any]], str]) -> bool:
    """Whether a system message shows in the prompt."""
    try:
        return _SENTINEL in render([{"role": "system", "content": _SENTINEL}, {"role": "user", "content": "a"}])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (code of the checkpoint)
        return False


def in_words(messages: Sequence[Any], tools: Sequence[Any], *, in_system: bool) -> list[Any]:
    """The messages with the tools and all earlier calls in words; `in_system`: the template has a system message."""
    spoken = _merged([_in_words(message) for message in messages])
    if not tools:
        return spoken
    prompt = _PROMPT.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    role = "system" if in_system else "user"
    if spoken and _role(spoken[0]) == "system":
        given, spoken = _text(spoken[0].get("content")), spoken[1:]
        prompt = f"{given}\n\n{prompt}" if given else prompt
    if spoken and role == "user" and _role(spoken[0]) == "user":
        return [{**spoken[0], "content": f"{prompt}\n\n{_text(spoken[0].get('content'))}"}, *spoken[1:]]
    return [{"role": role, "content": prompt}, *spoken]


def _in_words(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    if _role(message) == "tool":
        return {"role": "user", "content": f"<tool_response>\n{_text(message.get('content'))}\n</tool_response>"}
    if not message.get("tool_calls"):
        return message
    parts = [_text(message.get("content")), *map(_call, message["tool_calls"])]
    content = "\n".join(part for part in parts if part)
    return {**{name: value for name, value in message.items() if name != "tool_calls"}, "content": content}


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return ""
    spelled = {"name": function.get("name"), "arguments": parsed_arguments(function.get("arguments"))}
    return f"<tool_call>\n{json.dumps(spelled, ensure_ascii=False)}\n</tool_call>"


def _merged(messages: Sequence[Any]) -> list[Any]:
    """Messages of the user in a row as one: many templates want turns that alternate."""
    merged: list[Any] = []
    for message in messages:
        if merged and _role(message) == _role(merged[-1]) == "user":
            content = f"{_text(merged[-1].get('content'))}\n{_text(message.get('content'))}"
            merged[-1] = {**merged[-1], "content": content}
        else:
            merged.append(message)
    return merged


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


def _text(content: Any) -> str:
    """The text of a string or of a list of parts."""
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in content or () if isinstance(part, Mapping)] if content else []
    return "".join(text for text in parts if isinstance(text, str))
