"""Chat templates are rendered in processes of their own: one that takes long or too much holds up no other prompt.

A template is code from a checkpoint, and some public ones take time that grows with the square of the messages. Each
chat gets a process that is at hand. If it takes longer than `SLOW_S`, another process is started for the next ones, and
this one, behind everything else on the machine, goes on until its own bounds end it.
"""

from __future__ import annotations

import threading
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

BOUNDS: Final = Bounds(limit_s=10.0, memory_bytes=512 << 20)
SLOW_S: Final = 0.02  # of CPU time: ordinary chats take a millisecond
MAX_SLOW: Final = 8  # at once; each may take the memory of its bound
_AT_HAND: Final = 2  # one to render, and one in case that takes long: starting one takes a tenth of a second
_TEXT, _ERROR = b"+", b"-"  # how an answer begins


class TemplateProcesses:
    """Renders the chats of one engine. Any thread may call it."""

    def __init__(self, tokenizer_directory: Path, bounds: Bounds = BOUNDS) -> None:
        self._bounds = bounds
        self._directory = str(tokenizer_directory)
        self._at_hand = SimpleQueue[BoundedProcess | None]()  # None: it is closed
        for _ in range(_AT_HAND):
            self._at_hand.put(self._start())
        self._slow: set[BoundedProcess] = set()
        self._lock = threading.Lock()

    def render_json(self, chat: bytes, max_characters: int, *, alone: bool = True) -> str:
        """As `ChatTemplate.render_json`, within bounds.

        Args:
            alone: others do not wait for this prompt.

        Raises:
            InvalidRequest: the template rejects the messages, or takes too much for them.
            ContextLengthExceeded: the prompt is longer than `max_characters`.
            SendAlone: it takes long, and others wait for it.
            EngineUnavailable: it takes long, and so do too many others; or the server is shutting down.
        """
        try:
            answer = self._answer(b"%d %s" % (max_characters, chat), alone)
        except ProcessEnded as ended:
            exceeded = self._bounds.exceeded(ended.status)
            if exceeded is None:
                raise EngineFailed(f"the process of the chat template: {ended}") from ended
            raise InvalidRequest(f"messages: the chat template {exceeded} for them", "messages") from ended
        if answer.startswith(_TEXT):
            return answer[1:].decode(errors="surrogatepass")
        raise from_wire(answer[1:].decode()) or EngineFailed("the chat template's error cannot be read")

    def close(self) -> None:
        """What is being rendered ends with an error."""
        self._at_hand.put(None)
        while (process := self._at_hand.get()) is not None:
            process.end()
        self._at_hand.put(None)
        with self._lock:
            for slow in self._slow:
                slow.kill()

    def _answer(self, message: bytes, alone: bool) -> bytes:
        process = self._take()
        quick = False
        try:
            process.ask(message)
            quick = process.answers_within(SLOW_S)
            if quick:
                return process.answer()
        finally:
            self._at_hand.put(process if quick and process.alive else self._start())
        try:
            return self._slow_answer(process, alone)
        finally:
            process.end()  # its memory, and its place behind all others, are for good

    def _slow_answer(self, process: BoundedProcess, alone: bool) -> bytes:
        if not alone:
            raise SendAlone("messages: the chat template takes long for them: send them alone", "messages")
        with self._lock:
            if len(self._slow) >= MAX_SLOW:
                raise EngineUnavailable(f"messages: the chat template takes long, as for {MAX_SLOW} chats before")
            self._slow.add(process)
        try:
            process.give_way()
            return process.answer()
        finally:
            with self._lock:
                self._slow.discard(process)

    def _start(self) -> BoundedProcess:
        return BoundedProcess(renderer, self._bounds, self._directory)

    def _take(self) -> BoundedProcess:
        process = self._at_hand.get()
        if process is None:
            self._at_hand.put(None)  # for others who wait
            raise EngineUnavailable("the server is shutting down")
        if process.alive:
            return process
        process.end()
        return self._start()


def renderer(tokenizer_directory: str) -> Answer:
    """For the process: what renders `MAX_CHARACTERS CHAT`. Raises: ValueError: there is no template, or it is none."""
    template = ChatTemplate.load(Path(tokenizer_directory))
    if template is None:
        raise ValueError(f"{tokenizer_directory}: no chat template")

    def render(message: bytes) -> bytes:
        max_characters, _, chat = message.partition(b" ")
        try:
            text = template.render_json(chat, int(max_characters))
        except RequestError as error:
            return _ERROR + to_wire(error).encode()
        return _TEXT + text.encode(errors="surrogatepass")

    return render
