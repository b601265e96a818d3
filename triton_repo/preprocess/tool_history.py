"""The tool calls of earlier turns, as a chat template reads them.

Clients send what they got from any server: arguments as JSON text or as an object, calls without an id. Most templates
print arguments with `tojson` and so need the object; some (DeepSeek's) add the text to others; Mistral's demand ids of
9 characters. Which ones a template needs is found by rendering it, so that it holds for any way to write one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

_KEY: Final = "sentinel0key"
_VALUE: Final = "sentinel0value"
_LONG_ID: Final = "call_0123456789abcdef01234567"  # as OpenAI's
_SHORT_ID_LENGTH: Final = 9


class HistoryFormat(NamedTuple):
    """`as_text`: arguments are JSON text, not an object; `short_ids`: the ids of calls have 9 letters and digits."""

    as_text: bool = False
    short_ids: bool = False


def detect_history_format(render: Callable[[Sequence[Any]], str]) -> HistoryFormat | None:
    """The first format in which a call shows in the prompt with its arguments; None if none does.

    Args:
        render: the template's text for these messages; whatever it raises, the call does not show.
    """
    call = {"id": _LONG_ID, "type": "function", "function": {"name": "f", "arguments": {_KEY: _VALUE}}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "b", "tool_call_id": _LONG_ID, "name": "f"},
    ]
    for as_text in (False, True):
        for short_ids in (False, True):
            format = HistoryFormat(as_text, short_ids)
            try:
                text = render(in_history_format(messages, format))
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001, S112  (code of the checkpoint)
                continue
            # Python's own spelling of an object is no JSON: a template that adds it to text was not written for one.
            if _KEY in text and _VALUE in text and f"'{_KEY}'" not in text:
                return format
    return None


def in_history_format(messages: Sequence[Any], format: HistoryFormat) -> list[Any]:
    """The messages with their calls in that format. A call without an id gets one, and so do the answers to it."""
    ids = _Ids(format.short_ids)
    return [_formatted(message, format, ids) for message in messages]


class _Ids:
    """The ids of calls and of the tool messages that answer them, which come in the same order."""

    def __init__(self, short: bool) -> None:
        self._short = short
        self._num_calls = 0
        self._unanswered: list[str] = []

    def of_call(self, given: Any) -> str:
        self._num_calls += 1
        id = self._shaped(given if isinstance(given, str) and given else f"call_{self._num_calls}")
        self._unanswered.append(id)
        return id

    def of_answer(self, given: Any) -> str | None:
        """None where there is no call to answer."""
        if isinstance(given, str) and given:
            id = self._shaped(given)
            if id in self._unanswered:
                self._unanswered.remove(id)
            return id
        return self._unanswered.pop(0) if self._unanswered else None

    def _shaped(self, id: str) -> str:
        if not self._short or (len(id) == _SHORT_ID_LENGTH and id.isalnum() and id.isascii()):
            return id
        return hashlib.sha256(id.encode(errors="replace")).hexdigest()[:_SHORT_ID_LENGTH]


def _formatted(message: Any, format: HistoryFormat, ids: _Ids) -> Any:
    if not isinstance(message, dict):
        return message
    if isinstance(calls := message.get("tool_calls"), list) and calls:
        return {**message, "tool_calls": [*_calls(calls, format, ids)]}
    if message.get("role") == "tool" and (id := ids.of_answer(message.get("tool_call_id"))) is not None:
        return {**message, "tool_call_id": id}
    return message


def _calls(calls: Sequence[Any], format: HistoryFormat, ids: _Ids) -> Iterator[Any]:
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
            yield call  # not OpenAI's shape: the template gets what was sent
            continue
        arguments = call["function"].get("arguments")
        shaped = arguments_as_text(arguments) if format.as_text else parsed_arguments(arguments)
        yield {**call, "id": ids.of_call(call.get("id")), "function": {**call["function"], "arguments": shaped}}


def parsed_arguments(arguments: Any) -> Any:
    """The object that JSON text spells; text that is no JSON stays as it is. None and "" are no arguments."""
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def arguments_as_text(arguments: Any) -> str:
    if isinstance(arguments, str) and arguments:
        return arguments
    return json.dumps(arguments or {}, ensure_ascii=False)


def named_reasoning(message: Any, names: Sequence[str]) -> Any:
    """The message with the reasoning of an earlier answer, its `reasoning_content`, under other names too."""
    if not isinstance(message, Mapping) or not message.get("reasoning_content"):
        return message
    return {**dict.fromkeys(names, message["reasoning_content"]), **message}
