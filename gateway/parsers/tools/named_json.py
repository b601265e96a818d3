"""The function's name between markers, and then its arguments as JSON: DeepSeek V3, Kimi K2, Mistral."""

from __future__ import annotations

import re
from typing import Final

from gateway.parsers.json_value import NO_ARGUMENTS
from gateway.parsers.parser import CallArguments, CallEnd, CallStart
from gateway.parsers.source import Markers, Source, Steps
from gateway.parsers.tools.answer import close, in_section
from gateway.parsers.tools.json_call import stream_call
from gateway.parsers.tools.marked_json import marked_json

DEEPSEEK: Final = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)
KIMI: Final = (
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)
MISTRAL: Final = ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")

_DEEPSEEK_SEPARATOR: Final = Markers(DEEPSEEK[2])
_LINE_END: Final = Markers("\n", "`", "{", DEEPSEEK[3])
_KIMI_ARGUMENTS: Final = Markers(KIMI[2], KIMI[3])
_KIMI_ID: Final = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?\Z", re.DOTALL)
_MISTRAL_NAME_END: Final = Markers(*MISTRAL, "{", "\n")


def _deepseek_call(source: Source) -> Steps[bool]:
    """V3.1 writes `NAME<sep>{…}`, V3 and R1 write `function<sep>NAME`, and the arguments in a fence."""
    name = yield from source.up_to(_DEEPSEEK_SEPARATOR)
    if not (name and (yield from source.skip(DEEPSEEK[2]))):
        return False
    yield from source.space()
    if not (yield from source.comes("{", '"', DEEPSEEK[3])):
        name = yield from source.up_to(_LINE_END)
        yield from source.space()
        if not (yield from source.skip("```json")):
            yield from source.skip("```")
    return (yield from _call(source, name.strip(), None, "```", DEEPSEEK[3]))


def _kimi_call(source: Source) -> Steps[bool]:
    """`functions.NAME:INDEX`, which is the call's id too."""
    call_id = (yield from source.up_to(_KIMI_ARGUMENTS)).strip()
    match = _KIMI_ID.match(call_id)
    if match is None:
        return False
    yield from source.skip(KIMI[2])
    return (yield from _call(source, match[1], call_id if match[1] != call_id else None, KIMI[3]))


def mistral_calls(source: Source, marker: str) -> Steps[bool]:
    """`[TOOL_CALLS][{"name": …}, …]` before, `[TOOL_CALLS]NAME[ARGS]{…}` since the tokenizer's version 11."""
    yield from source.space()
    if (yield from source.peek()) in ("[", "{"):
        return (yield from _mistral_json(source, marker))
    name = yield from source.up_to(_MISTRAL_NAME_END)
    call_id = ""
    if (yield from source.skip(MISTRAL[1])):
        call_id = yield from source.up_to(_MISTRAL_NAME_END)
    yield from source.space()
    yield from source.skip(MISTRAL[2])
    return (yield from _call(source, name.strip(), call_id.strip() or None))


def _call(source: Source, name: str, call_id: str | None, *ends: str) -> Steps[bool]:
    """The arguments of a call, an object, or a string with one in it, or nothing, and the markers behind it."""
    yield from source.space()
    if name and (yield from source.comes("{", '"')):
        yield from stream_call(source, name, call_id)
    elif name and ends and (yield from source.skip(ends[-1])):
        source.commit()
        yield CallStart(name, call_id)
        yield CallArguments(NO_ARGUMENTS)
        yield CallEnd()
    else:
        return False
    yield from close(source, *ends)
    return True


_mistral_json: Final = marked_json()
deepseek_calls: Final = in_section(DEEPSEEK[0], DEEPSEEK[1], DEEPSEEK[4], _deepseek_call)
kimi_calls: Final = in_section(KIMI[0], KIMI[1], KIMI[4], _kimi_call)
