"""OpenAI's harmony format of gpt-oss: messages on channels, for reasoning, calls and text at once.

`<|channel|>analysis<|message|>…<|end|>`, `<|start|>assistant<|channel|>commentary to=functions.NAME<|constrain|>json
<|message|>{…}<|call|>`, `<|channel|>final<|message|>…<|return|>`: https://cookbook.openai.com/articles/openai-harmony.
The prompt ends with `<|start|>assistant`.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.parsers.json_value import NO_ARGUMENTS
from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser, ReasoningPiece, Schemas, TextPiece
from gateway.parsers.source import Markers, Source, SteppedParser, Steps
from gateway.parsers.tools.json_call import stream_call

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
ENDS: Final = ("<|end|>", "<|call|>", "<|return|>")
SPECIAL: Final = (START, CHANNEL, MESSAGE, CONSTRAIN, *ENDS)
_MARKERS: Final = Markers(*SPECIAL)
_RECIPIENT: Final = re.compile(r"\bto=(functions\.)?([^\s<]+)")
_CHANNEL: Final = re.compile(rf"{re.escape(CHANNEL)}\s*(\w+)")

Said = TextPiece | ReasoningPiece


def harmony(schemas: Schemas | None) -> Parser:
    """`schemas` None: calls are not wanted, so that their arguments are text."""
    return SteppedParser(lambda source: _answer(source, schemas))


def _answer(source: Source, schemas: Schemas | None) -> Steps[None]:
    """Messages, one after the other. Text that stands in none is the answer's own: the model has left the format.

    A header that is cut off, or ends without a message, is no text.
    """
    header = START if (yield from source.comes(" to=")) else ""
    kind: type[Said] | None = None  # of the message that is open
    said: set[type[Said]] = set()
    separator = ""
    while True:
        text, marker = yield from source.until(_MARKERS)
        if header:
            header += text
        elif text and (kind or text.strip() or not (said or marker)):
            kind = kind or TextPiece
            yield kind(separator + text)
            separator = ""
            said.add(kind)
        if marker == MESSAGE:
            name = _called(header, schemas)
            kind = None if name else _kind(header)
            header, separator = "", "\n" if kind in said else ""
            if name:
                yield from _call(source, name)
        elif marker in ENDS:
            header, kind = "", None
            if (yield from source.comes(f"assistant{CHANNEL}")):  # its start marker is missing
                yield from source.skip("assistant")
        elif marker:
            header = START if marker == START else header + marker
        elif not text:
            return


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
    if (yield from source.comes("{")):
        yield from stream_call(source, name)
        return
    yield CallStart(name)
    is_empty, space = True, ""
    while True:
        text, marker = yield from source.until(_MARKERS)
        said = (space + text).rstrip()
        space = (space + text)[len(said) :]
        if said:
            yield CallArguments(said)
            is_empty = False
        if marker or not text:
            break
    if is_empty:
        yield CallArguments(NO_ARGUMENTS)
    if marker:
        source.unread(marker)
        yield CallEnd()
