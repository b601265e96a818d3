"""What a parser makes of one answer, in short: what it says, reasons and calls, in this order."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser, Piece, ReasoningPiece, TextPiece

# ("text", …), ("reasoning", …), ("call", name, arguments), or ("cut", name, arguments) for a call without its end;
# a call's own id is the fourth.
Part = tuple[str, ...]


def read(parser: Parser, answer: str, cuts: Iterable[int] = ()) -> list[Part]:
    """The parts of an answer that arrives cut at these indices."""
    pieces: list[Piece] = []
    start = 0
    for cut in [*sorted(cuts), len(answer)]:
        pieces += parser.feed(answer[start:cut])
        start = cut
    return parts([*pieces, *parser.finish()])


def parts(pieces: Iterable[Piece]) -> list[Part]:
    result: list[Part] = []
    for piece in pieces:
        last = result[-1] if result else ("",)
        match piece:
            case TextPiece(text) | ReasoningPiece(text):
                assert text, "no piece is empty"
                kind = "text" if isinstance(piece, TextPiece) else "reasoning"
                result[-1:] = [(kind, last[1] + text)] if last[0] == kind else [*result[-1:], (kind, text)]
            case CallStart(name, call_id):
                result.append(("cut", name, "", *([] if call_id is None else [call_id])))
            case CallArguments(text):
                assert text, "no piece is empty"
                assert last[0] == "cut", "arguments belong to an open call"
                result[-1] = (*last[:2], last[2] + text, *last[3:])
            case CallEnd():
                assert last[0] == "cut", "an open call ends"
                result[-1] = ("call", *last[1:])
    return result
