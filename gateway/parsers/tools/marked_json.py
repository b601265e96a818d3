"""A marker, and then a call as a JSON object, or several in a list: Hermes, Qwen, Granite, Phi-4-mini and others."""

from __future__ import annotations

from typing import Final

from gateway.parsers.source import Source, Steps, Wait
from gateway.parsers.tools.answer import Calls, next_item
from gateway.parsers.tools.json_call import JsonCall

ANY_CALL: Final = JsonCall()


def marked_json(end: str = "", call: JsonCall = ANY_CALL) -> Calls:
    """The calls behind a marker, that `end` may close."""

    def calls(source: Source, _marker: str) -> Steps[bool]:
        yield from source.space()
        is_list = yield from source.skip("[")
        yield from source.space()
        is_call = False
        while (yield from call.read(source)):
            is_call = True
            if not is_list or not (yield from next_item(source)):
                break
        if is_call:
            yield from _close(source, end)
        return is_call

    return calls


def _close(source: Source, end: str) -> Wait[None]:
    """The end of the calls, with brackets too many: models that lose count write them."""
    yield from source.space()
    while (yield from source.skip("}")) or (yield from source.skip("]")):
        yield from source.space()
    if not end or (yield from source.skip_or_end(end)):
        source.commit()
