"""Readers of one choice: from the text and the tokens of its deltas to events, up to where the answer ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from uuid import uuid4

from gateway.answers.backend import Delta, Generation
from gateway.answers.event_list import EventList
from gateway.answers.events import Event, Text, ToolCallDelta
from gateway.answers.parsing import Parsing
from gateway.answers.stop import StopMatcher
from gateway.answers.tokens import Token, TokenQueue
from gateway.parsers.parser import CallArguments, CallStart, Piece, ReasoningPiece, TextPiece

_ID_LENGTH: Final = 24  # as OpenAI's, behind "call_"


class Reader(Protocol):
    """
    Attributes:
        is_cut: the answer ends here, whatever else the engine writes.
        stop: the stop string that has cut it; None where none has.
        num_tokens: those that the answer needed up to the cut; None where that is not known.
        reasoning_tokens: those before and of the last reasoning; None where that is not known.
        has_calls: there is a tool call.
    """

    @property
    def is_cut(self) -> bool: ...

    @property
    def stop(self) -> str | None: ...

    @property
    def has_calls(self) -> bool: ...

    @property
    def num_tokens(self) -> int | None: ...

    @property
    def reasoning_tokens(self) -> int | None: ...

    def read(self, delta: Delta, is_last: bool) -> list[Event]: ...


class PlainReader:
    """Of an answer that is text alone."""

    def __init__(self, index: int, generation: Generation) -> None:
        self.is_cut = False
        self.has_calls = False
        self.reasoning_tokens: int | None = None
        self._index = index
        self._matcher = StopMatcher(generation.stops, keep_stop=generation.keep_stop) if generation.stops else None
        self._lists_tokens = generation.lists_tokens
        self._tokens: TokenQueue | None = None
        if self._lists_tokens or generation.stops:
            self._tokens = TokenQueue(generation.sampling.min_tokens or 0)
        self._awaits_prompt = bool(generation.echo)
        self._num_prompt_tokens = self._prompt_length = 0  # of the prompt in the text

    @property
    def stop(self) -> str | None:
        return self._matcher.stop if self.is_cut and self._matcher is not None else None

    @property
    def num_tokens(self) -> int | None:
        """Up to the token that completes the stop string, however far the engine has run ahead."""
        if self._tokens is None or not self._tokens.num_added:
            return None
        return self._tokens.num_taken - self._num_prompt_tokens

    def read(self, delta: Delta, is_last: bool) -> list[Event]:
        text = delta.text if self._tokens is None else self._up_to_stop(delta, self._tokens, is_last)
        tokens = self._leaving(text, self.is_cut or is_last)
        added = text or tokens or ((self.is_cut or is_last) and tokens is not None)
        return [Text(self._index, text, tokens)] if added else []

    def _up_to_stop(self, delta: Delta, tokens: TokenQueue, is_last: bool) -> str:
        prompt = ""
        if self._awaits_prompt:
            self._awaits_prompt = False
            self._num_prompt_tokens = delta.prompt_tokens
            tokens.expect_prompt(delta.prompt_tokens)
        tokens.add(delta.tokens)
        if self._matcher is None:
            return delta.text
        if self._num_prompt_tokens and not self._prompt_length:
            self._prompt_length = tokens.length_of(self._num_prompt_tokens)
            prompt = delta.text[: self._prompt_length]
        text, self.is_cut = self._matcher.feed(delta.text[len(prompt) :], tokens.exempt - self._prompt_length)
        text = prompt + text
        if is_last and not self.is_cut:
            rest, self.is_cut = self._matcher.flush()
            text += rest
        return text

    def _leaving(self, text: str, ends: bool) -> list[Token] | None:
        """The tokens that go out with `text`; None where logprobs are not asked for."""
        if self._tokens is None:
            return None
        beyond: int | None = 0  # the tokens of held text wait with it
        if ends:
            beyond = self._matcher.num_dropped if self._matcher is not None and self.is_cut else None
        leaving = self._tokens.take(text, beyond)
        return leaving if self._lists_tokens else None


class ParsedReader:
    """Of an answer that may hold reasoning and tool calls.

    Where it is known which token wrote which text, the parser gets it token by token: so everything that is counted is
    the same for every chunking. Stop strings are looked for in the answer's own text, not in reasoning or calls, which
    no client sees as text. Tokens are listed with what leaves when they arrive, those of markers too, as vLLM does.
    """

    def __init__(self, index: int, generation: Generation, parsing: Parsing) -> None:
        self.is_cut = False
        self.num_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self._parser = parsing.parser()
        self._most_calls = parsing.most_calls
        self._counts_reasoning = parsing.reasoning_parser is not None
        self._matcher = StopMatcher(generation.stops, keep_stop=generation.keep_stop)
        self._min_tokens = generation.sampling.min_tokens or 0
        self._lists_tokens = generation.lists_tokens
        self._index = index
        self._num_calls = 0
        self._ids: set[str] = set()
        self._tokens = TokenQueue()
        self._num_fed = 0  # tokens
        self._reasons = False  # the last piece was reasoning
        self._characters = 0  # of text that has left the parser
        self._exempt = 0  # of these the first, which end no stop string

    @property
    def has_calls(self) -> bool:
        return self._num_calls > 0

    @property
    def stop(self) -> str | None:
        return (self._matcher.stop or None) if self.is_cut else None

    def read(self, delta: Delta, is_last: bool) -> list[Event]:
        events = EventList(self._index)
        for text, token in self._steps(delta):
            self._step(self._parser.feed(text), token, events)
            if self.is_cut:
                return events.merged()
        if is_last:
            self._end(events)
        return events.merged()

    def _steps(self, delta: Delta) -> Iterator[tuple[str, Token | None]]:
        """The text of each token, or of the whole delta where the engine does not tell its tokens."""
        self._tokens.add(delta.tokens)
        tokens = self._tokens.take(delta.text, None)
        if not tokens:
            yield delta.text, None
            return
        first = tokens[0].start
        ends = [*(token.start - first for token in tokens[1:]), len(delta.text)]
        for token, end in zip(tokens, ends, strict=True):
            yield delta.text[token.start - first : end], token

    def _step(self, pieces: Sequence[Piece], token: Token | None, events: EventList) -> None:
        if token is not None:
            self._num_fed += 1
            self.num_tokens = self._num_fed
        for piece in pieces:
            self._add(piece, events)
            if self.is_cut:
                break
        if token is not None:
            if self._lists_tokens:
                events.token(token)
            if self._counts_reasoning:
                self._count_reasoning(pieces)

    def _end(self, events: EventList) -> None:
        for piece in self._parser.finish():
            if not self.is_cut:
                self._add(piece, events)
        if not self.is_cut:
            rest, self.is_cut = self._matcher.flush()
            events.text(rest)
        if self._reasons and self.reasoning_tokens is not None:
            self.reasoning_tokens = self._num_fed

    def _count_reasoning(self, pieces: Sequence[Piece]) -> None:
        """Tokens that write nothing count to what comes next, so those of a start marker to what it starts."""
        if pieces:
            self._reasons = isinstance(pieces[-1], ReasoningPiece)
        self.reasoning_tokens = self.reasoning_tokens or 0
        if any(isinstance(piece, ReasoningPiece) for piece in pieces):
            self.reasoning_tokens = self._num_fed

    def _add(self, piece: Piece, events: EventList) -> None:
        match piece:
            case TextPiece(text):
                events.text(self._up_to_stop(text))
            case ReasoningPiece(text):
                events.reasoning(text)
            case CallStart(name, id):
                if self._num_calls == self._most_calls:
                    self.is_cut = True
                    return
                self._num_calls += 1
                events.add(ToolCallDelta(self._index, self._num_calls - 1, "", self._id(id), name))
            case CallArguments(text):
                events.add(ToolCallDelta(self._index, self._num_calls - 1, text))

    def _up_to_stop(self, text: str) -> str:
        self._characters += len(text)
        if self._num_fed <= self._min_tokens:
            self._exempt = self._characters
        safe, self.is_cut = self._matcher.feed(text, self._exempt)
        return safe

    def _id(self, given: str | None) -> str:
        """The id that the model wrote, which it knows again in the history, unless it wrote one twice."""
        id = given if given and given not in self._ids else f"call_{uuid4().hex[:_ID_LENGTH]}"
        self._ids.add(id)
        return id
