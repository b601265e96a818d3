"""Many streams at once, and how each of them ended."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx

from tests.launch.server import KEY
from tests.stream_end import stream_end

WAIT_S = 240
HEADERS = {"authorization": f"Bearer {KEY}"}


@dataclass
class End:
    """How one request ended: its HTTP status, the data lines of its body, and when (monotonic)."""

    status: int = 0
    lines: list[str] = field(default_factory=list)
    cut: bool = False
    ended_s: float = 0.0

    @property
    def kind(self) -> str:
        """A status of its own, cut, or the end of the stream."""
        if self.status != 200:
            return f"status {self.status}" if self.status else "cut"
        return "cut" if self.cut else stream_end(self.lines)

    @property
    def error(self) -> dict[str, str]:
        error: dict[str, str] = json.loads(self.lines[-1])["error"]
        return error


def a_story(max_tokens: int, model: str = "tale") -> dict[str, object]:
    return {"model": model, "prompt": "x", "max_tokens": max_tokens, "stream": True, "ignore_eos": True}


async def run_streams(
    url: str, num: int, max_tokens: int, once_they_run: Callable[[], Awaitable[None]], model: str = "tale"
) -> list[End]:
    """`once_they_run` is awaited when each stream has brought something."""
    running = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=WAIT_S, headers=HEADERS, limits=limits) as client:
        readers = [asyncio.create_task(_read(client, url, a_story(max_tokens, model), running)) for _ in range(num)]
        for _ in readers:
            await running.acquire()
        await once_they_run()
        return await asyncio.gather(*readers)


async def _read(client: httpx.AsyncClient, url: str, body: dict[str, object], running: asyncio.Semaphore) -> End:
    end = End()
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
            end.status = response.status_code
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    end.lines.append(line.removeprefix("data: "))
                    if len(end.lines) == 1:
                        running.release()
    except httpx.TransportError:
        end.cut = True
    if not end.lines:
        running.release()
    end.ended_s = time.monotonic()
    return end


def kinds(ends: Sequence[End]) -> dict[str, int]:
    return dict(Counter(end.kind for end in ends))


class Poller:
    """Asks one path again and again on a thread of its own; `seen` are (when it asked, when answered, status or 0)."""

    def __init__(self, url: str, body: dict[str, object] | None = None, timeout_s: float = 5.0) -> None:
        self._url = url
        self._body = body
        self._timeout_s = timeout_s
        self.seen: list[tuple[float, float, int]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def first(self, wanted: set[int], after_s: float) -> float | None:
        """When an answer with such a status came to a question that was asked after `after_s`."""
        answers = (answered for asked, answered, status in self.seen if asked >= after_s and status in wanted)
        return next(answers, None)

    def statuses(self, after_s: float) -> dict[int, int]:
        return dict(Counter(status for asked, _, status in self.seen if asked >= after_s))

    def _run(self) -> None:
        while not self._stopped.wait(0.1):
            asked_s = time.monotonic()
            status = self._ask()
            self.seen.append((asked_s, time.monotonic(), status))

    def _ask(self) -> int:
        try:
            if self._body is None:
                return httpx.get(self._url, timeout=self._timeout_s).status_code
            return httpx.post(self._url, json=self._body, headers=HEADERS, timeout=self._timeout_s).status_code
        except httpx.TransportError:
            return 0
