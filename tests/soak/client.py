"""A client that may leave at any point of a request, and the greedy answers that nothing may change."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from tests.stream_end import stream_end

TIMEOUT_S: Final = 300
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST

# Longer than a prefill takes in one step, and shared by requests that follow.
_SENTENCES: Final = ("A conch is a large sea snail. ", "Its shell is blown as a horn. ", "It lives in warm water. ")
PREFIXES: Final = tuple("".join(_SENTENCES[(at + start) % 3] for at in range(60)) for start in range(3))
QUESTIONS: Final = ("What is a conch?", "Where does it live?", "Who are you?", "Hello!")


def chat(prefix: str, question: str, **more: Any) -> bytes:
    messages = [{"role": "system", "content": prefix}, {"role": "user", "content": question}]
    body = {"model": "demo", "messages": messages, "temperature": 0, "max_tokens": 24, "stream": True, **more}
    return json.dumps(body).encode()


@dataclass
class Answer:
    """What came: the status (0: the connection ended before one), and the data of each event."""

    status: int = 0
    events: list[str] = field(default_factory=list)
    left: bool = False  # the client has

    @property
    def text(self) -> str:
        chunks = [json.loads(event) for event in self.events if event.startswith("{")]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))

    @property
    def ending(self) -> str:
        """complete, error, rejected, left, or what must not be: cut or broken."""
        if self.left:
            return "left"
        if self.status != 200:
            return "rejected" if self.status else "cut"
        return stream_end(self.events)


@dataclass(frozen=True)
class Leaving:
    """When a client leaves: after a part of its request, some seconds, or some events; and whether by RST."""

    sent: float = 1.0
    after_s: float | None = None
    events: int | None = None
    reset: bool = False

    @classmethod
    def at_random(cls, chance: random.Random) -> Leaving:
        reset = chance.random() < 0.5
        kind = chance.choice(("half body", "at once", "soon", "token", "token"))
        if kind == "half body":
            return cls(sent=chance.random(), after_s=0, reset=reset)
        if kind == "token":
            return cls(events=chance.randrange(1, 40), reset=reset)
        return cls(after_s=0 if kind == "at once" else chance.random() * 0.3, reset=reset)


async def ask(
    url: str, body: bytes, leaving: Leaving | None = None, pause_s: float = 0, headers: bytes = b""
) -> Answer:
    """POST a chat, and read its events; `pause_s` between two reads of a slow client, `headers` end in CRLF each."""
    address = urlsplit(url)
    answer = Answer()
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return answer
    try:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\nconnection: close\r\n"
        )
        request = head % address.netloc.encode() + headers + b"content-length: %d\r\n\r\n" % len(body) + body
        writer.write(request[: int(len(request) * leaving.sent)] if leaving else request)
        reading = _read(reader, answer, leaving.events if leaving else None, pause_s)
        await asyncio.wait_for(reading, TIMEOUT_S if leaving is None or leaving.after_s is None else leaving.after_s)
    except TimeoutError:
        answer.left = leaving is not None and leaving.after_s is not None
    except OSError:
        pass
    finally:
        answer.left |= leaving is not None and leaving.events is not None and len(answer.events) >= leaving.events
        _leave(writer, reset=answer.left and leaving is not None and leaving.reset)
    return answer


async def _read(reader: asyncio.StreamReader, answer: Answer, max_events: int | None, pause_s: float) -> None:
    while line := await reader.readline():
        if line.startswith(b"HTTP/1.1 "):
            answer.status = int(line.split()[1])
        elif line.startswith(b"data: "):
            answer.events.append(line.removeprefix(b"data: ").strip().decode())
            if max_events is not None and len(answer.events) >= max_events:
                return
            await asyncio.sleep(pause_s)


def _leave(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.close()


class Canaries:
    """Greedy answers to some prompts, each recorded while nothing else ran."""

    def __init__(self, url: str, headers: bytes = b"") -> None:
        self.url = url
        self._headers = headers
        self.texts: dict[tuple[str, str], str] = {}

    async def record(self) -> None:
        for prefix in PREFIXES:
            for question in QUESTIONS:
                answer = await ask(self.url, chat(prefix, question), headers=self._headers)
                assert answer.ending == "complete", answer
                self.texts[prefix, question] = answer.text
        assert any(self.texts.values())

    async def differs(self, prefix: str, question: str) -> str | None:
        """What is wrong with the answer now: None, its ending, or "other text"."""
        answer = await ask(self.url, chat(prefix, question), headers=self._headers)
        if answer.ending != "complete":
            return answer.ending
        return None if answer.text == self.texts[prefix, question] else "other text"
