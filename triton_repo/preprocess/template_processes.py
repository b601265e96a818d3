"""Chat templates are rendered in processes of their own: one that takes long or too much holds up no other prompt.

A template is code from a checkpoint, and some public ones take time that grows with the square of the messages. Each
chat gets a process that is at hand. If it takes longer than `SLOW_S`, another process is started for the next ones, and
this one, behind everything else on the machine, goes on until its own bounds end it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from triton_repo.bounded_process import Answer, BoundedProcess, Bounds, ProcessEnded
from triton_repo.contract.errors import (
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    RequestError,
    SendAlone,
    from_wire,
    to_wire,
)
from triton_repo.preprocess.chat_template import ChatTemplate
from triton_repo.preprocess.client_text import ClientText, Marked

BOUNDS: Final = Bounds(limit_s=10.0, memory_bytes=512 << 20)
SLOW_S: Final = 0.02  # of CPU time: ordinary chats take a millisecond
MAX_SLOW: Final = 8  # each may take the memory of its bound
_AT_HAND: Final = 2  # one to render, and one in case that takes long: starting one takes a tenth of a second
_TEXT, _MARKED, _ERROR = b"+", b"*", b"-"  # how an answer begins; behind the second stands the mark


class _Place(Enum):
    """What may be at hand instead of a process."""

    EMPTY = auto()  # one could not be started
    CLOSED = auto()


Rendered = Marked | RequestError  # the text, or why there is none


class TemplateProcesses:
    """Renders the chats of one engine. Any thread may call it."""

    def __init__(
        self,
        tokenizer_directory: Path,
        bounds: Bounds = BOUNDS,
        max_slow: int = MAX_SLOW,
        marked_tokens: Sequence[str] = (),
    ) -> None:
        """
        Args:
            max_slow: how many may take long at once.
            marked_tokens: the special tokens that are text where a client sends them.
        """
        self._bounds = bounds
        self._arguments = (str(tokenizer_directory), json.dumps(marked_tokens))
        self._at_hand = SimpleQueue[BoundedProcess | _Place]()
        for _ in range(_AT_HAND):
            self._at_hand.put(self._start())
        self._slow: set[BoundedProcess] = set()
        self._max_slow = max_slow
        self._lock = threading.Lock()

    def render_all(self, chats: Sequence[bytes], max_characters: int, *, alone: bool = True) -> list[Rendered]:
        """Each as `ChatTemplate.render_json` does, within bounds, and with these errors:

        InvalidRequest: the template takes too much for the messages.
        SendAlone: it takes long, and these chats are not `alone`: those of other clients wait for them.
        EngineUnavailable: it takes long, as too many others do; no process can be started; the server is shutting down.
        """
        rendered: list[Rendered] = []
        while len(rendered) < len(chats):
            try:
                process = self._take()
            except EngineUnavailable as error:
                return rendered + [error] * (len(chats) - len(rendered))
            rendered += self._render_some(process, chats[len(rendered) :], max_characters, alone)
        return rendered

    def close(self) -> None:
        """What is being rendered ends with an error."""
        self._at_hand.put(_Place.CLOSED)
        while (process := self._at_hand.get()) is not _Place.CLOSED:
            if process is not _Place.EMPTY:
                process.end()
        self._at_hand.put(_Place.CLOSED)
        with self._lock:
            for slow in self._slow:
                slow.kill()

    def _render_some(
        self, process: BoundedProcess, chats: Sequence[bytes], max_characters: int, alone: bool
    ) -> list[Rendered]:
        """The first of the chats, up to one that takes long or ends the process."""
        rendered: list[Rendered] = []
        try:
            process.ask(_packed(chats, max_characters))
            while len(rendered) < len(chats) and process.answers_within(SLOW_S):
                rendered.append(_unpacked(process.answer()))
        except ProcessEnded as ended:
            return [*rendered, self._error(ended)]
        finally:  # whatever happens: without this one, another thread would wait for ever
            is_slow_or_ended = len(rendered) < len(chats)
            self._at_hand.put(self._another() if is_slow_or_ended else process)
        return [*rendered, self._render_slowly(process, alone)] if is_slow_or_ended else rendered

    def _render_slowly(self, process: BoundedProcess, alone: bool) -> Rendered:
        try:
            if not alone:
                return SendAlone("messages: the chat template takes long for them: send them alone", "messages")
            with self._lock:
                if len(self._slow) >= self._max_slow:
                    rule = f"the chat template takes long, as for {self._max_slow} chats before"
                    return EngineUnavailable(f"messages: {rule}")
                self._slow.add(process)
            process.give_way()
            return _unpacked(process.answer())
        except ProcessEnded as ended:
            return self._error(ended)
        finally:
            with self._lock:
                self._slow.discard(process)
            process.end()  # its memory, and its place behind all others, are for good

    def _error(self, ended: ProcessEnded) -> RequestError:
        exceeded = self._bounds.exceeded(ended.status)
        if exceeded is None:
            return EngineFailed(f"the process of the chat template: {ended}")
        return InvalidRequest(f"messages: the chat template {exceeded} for them", "messages")

    def _start(self) -> BoundedProcess:
        return BoundedProcess(renderer, self._bounds, *self._arguments)

    def _another(self) -> BoundedProcess | _Place:
        try:
            return self._start()
        except OSError:  # no memory, no process ids: the next that takes this place tries it again
            return _Place.EMPTY

    def _take(self) -> BoundedProcess:
        process = self._at_hand.get()
        if process is _Place.CLOSED:
            self._at_hand.put(process)  # for others who wait
            raise EngineUnavailable("the server is shutting down")
        if process is not _Place.EMPTY:
            if process.alive:
                return process
            process.end()
        try:
            return self._start()
        except OSError as error:
            self._at_hand.put(_Place.EMPTY)
            raise EngineUnavailable(f"no process for the chat template can be started: {error.strerror}") from error


def renderer(tokenizer_directory: str, marked_tokens: str = "[]") -> Answer:
    """For the process: what renders packed chats. Raises: ValueError: there is no template, or it is none."""
    template = ChatTemplate.load(Path(tokenizer_directory), ClientText(json.loads(marked_tokens)))
    if template is None:
        raise ValueError(f"{tokenizer_directory}: no chat template")

    def render(message: bytes) -> Iterator[bytes]:
        head, _, chats = message.partition(b"\n")
        max_characters, *lengths = map(int, head.split())
        for end, length in zip(accumulate(lengths), lengths, strict=True):
            try:
                prompt = template.render_json(chats[end - length : end], max_characters)
            except RequestError as error:
                yield _ERROR + to_wire(error).encode()
            else:
                kind = _MARKED if prompt.mark else _TEXT
                yield kind + (prompt.mark + prompt.text).encode(errors="surrogatepass")

    return render


def _packed(chats: Sequence[bytes], max_characters: int) -> bytes:
    return b"%s\n%s" % (" ".join(map(str, [max_characters, *map(len, chats)])).encode(), b"".join(chats))


def _unpacked(answer: bytes) -> Rendered:
    if not answer.startswith(_ERROR):
        text = answer[1:].decode(errors="surrogatepass")
        return Marked(text[1:], text[0]) if answer.startswith(_MARKED) else Marked(text, "")
    return from_wire(answer[1:].decode()) or EngineFailed("the chat template's error cannot be read")
