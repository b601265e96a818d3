"""OpenAI's harmony format of gpt-oss: messages on channels, for reasoning, calls and text at once.

`<|channel|>analysis<|message|>…<|end|>`, `<|start|>assistant<|channel|>commentary to=functions.NAME<|constrain|>json
<|message|>{…}<|call|>`, `<|channel|>final<|message|>…<|return|>`: https://cookbook.openai.com/articles/openai-harmony.
The prompt ends with `<|start|>assistant`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.parsers.json_value import NO_ARGUMENTS
from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser, ReasoningPiece, Schemas, TextPiece
from gateway.parsers.source import Markers, Source, SteppedParser, Steps
from gateway.parsers.tools.json_call import stream_call
from gateway.parsers.tools.spacing import Spacing

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
ENDS: Final = ("<|end|>", "<|call|>", "<|return|>")
SPECIAL: Final = (START, CHANNEL, MESSAGE, CONSTRAIN, *ENDS)
_MARKERS: Final = Markers(*SPECIAL)
_MAX_HEADER: Final = 512  # characters
_RECIPIENT: Final = re.compile(r"\bto=(functions\.)?([^\s<]+)")
_CHANNEL: Final = re.compile(rf"{re.escape(CHANNEL)}\s*(\w+)")

Said = TextPiece | ReasoningPiece


def harmony(schemas: Schemas | None) -> Parser:
    """`schemas` None: calls are not wanted, so that their arguments are text."""
    return SteppedParser(_Harmony(schemas).answer)


class _Harmony:
    """Reads messages, one after the other. Text that stands in none is the answer's own: the model left the format.

    A header that is cut off, or ends without a message, is no text; but one that is too long is none.
    """

    def __init__(self, schemas: Schemas | None) -> None:
        self._schemas = schemas
        self._header = ""  # with the markers in it; "" where none is open
        self._kind: type[Said] | None = None  # of the message that is open
        self._said: set[type[Said]] = set()
        self._separator = ""  # from an earlier message of the same kind
        self._outside = Spacing()

    def answer(self, source: Source) -> Steps[None]:
        if (yield from source.comes(" to=")):
            self._header = START
        while True:
            text, marker = yield from source.until(_MARKERS)
            if text:
                yield from self._text(text)
            if marker:
                self._outside.call()
                yield from self._marker(source, marker)
            elif not text:
                yield from self._outside.end()
                return

    def _text(self, text: str) -> Iterator[Said]:
        if self._header:
            room = max(1, _MAX_HEADER + 1 - len(self._header))
            self._header += text[:room]
            if len(self._header) > _MAX_HEADER:
                yield from self._outside.text(self._header)
                self._header = ""
                if rest := text[room:]:
                    yield from self._text(rest)
        elif self._kind is None:
            yield from self._outside.text(text)
        else:
            yield self._kind(self._separator + text)
            self._separator = ""
            self._said.add(self._kind)

    def _marker(self, source: Source, marker: str) -> Steps[None]:
        if marker == MESSAGE:
            name = _called(self._header, self._schemas)
            self._kind = None if name else _kind(self._header)
            self._header, self._separator = "", "\n" if self._kind in self._said else ""
            if name:
                yield from _call(source, name)
        elif marker in ENDS:
            self._header, self._kind = "", None
            if (yield from source.comes(f"assistant{CHANNEL}")):  # its start marker is missing
                yield from source.skip("assistant")
        else:
            self._header = START if marker == START else self._header + marker


def _called(header: str, schemas: Schemas | None) -> str:
    """The function that a message is for; "" where it is for none."""
    recipient = _RECIPIENT.search(header)
    if recipient is None or schemas is None or not (recipient[1] or recipient[2] in schemas):
        return ""
    return recipient[2]


def _kind(header: str) -> type[Said]:
    channels = _CHANNEL.findall(header)
    return ReasoningPiece if channels and channels[-1] == "analysis" else TextPiece


def _call(source: Source, name: str) -> Steps[None]:
    """The arguments of a call. What stands behind the object in its message is left to be text."""
    yield from source.space()
    if (yield from source.comes("{", '"')):
        yield from stream_call(source, name)
        yield from source.space()
        yield from source.skip_or_end(*ENDS)
        return
    yield CallStart(name)
    is_empty, space = True, list[str]()
    while True:
        text, marker = yield from source.until(_MARKERS)
        if said := text.rstrip():
            yield CallArguments("".join((*space, said)))
            space.clear()
            is_empty = False
        space.append(text[len(said) :])
        if marker or not text:
            break
    if marker:
        if is_empty:
            yield CallArguments(NO_ARGUMENTS)
        source.unread(marker)
        yield CallEnd()
