"""Streams through a proxy: read event by event, left, and many at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx

from tests.operate.replicas import HEADERS, MODEL, WAIT_S
from tests.stream_end import stream_end

LONG: Final = 1500  # tokens, at 20 a second: no test waits for its end
CUT: Final = "cut"


def body(max_tokens: int, *, stream: bool = True, prompt: str = "x") -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, "stream": stream, "ignore_eos": True}


@contextmanager
def streaming(url: str, max_tokens: int, headers: Mapping[str, str] = {}) -> Iterator[Iterator[str]]:
    """The data of each event as it comes; leaving the block leaves the stream."""
    with (
        httpx.Client(timeout=WAIT_S, headers={**HEADERS, **headers}) as client,
        client.stream("POST", f"{url}/v1/completions", json=body(max_tokens)) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield (line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: "))


class Stream(threading.Thread):
    """One stream, read to its end by a thread of its own. `events` so far; `began` once there is one, or it is over."""

    def __init__(self, url: str, max_tokens: int, headers: Mapping[str, str] = {}) -> None:
        super().__init__()
        self._arguments = (url, max_tokens, headers)
        self.events: list[str] = []
        self.began = threading.Event()
        self.start()
        assert self.began.wait(WAIT_S)

    def run(self) -> None:
        try:
            with streaming(*self._arguments) as events:
                for event in events:
                    self.events.append(event)
                    self.began.set()
        except httpx.TransportError:
            pass
        finally:
            self.began.set()

    @property
    def end(self) -> str:
        """complete, error, cut or broken, once it is over."""
        self.join(WAIT_S)
        assert not self.is_alive()
        return stream_end(self.events) if self.events else CUT


def ends(streams: Sequence[Stream]) -> list[str]:
    return [stream.end for stream in streams]


def ask(url: str, prompt: str = "x", headers: Mapping[str, str] = {}, max_tokens: int = 2) -> httpx.Response:
    request = body(max_tokens, stream=False, prompt=prompt)
    return httpx.post(f"{url}/v1/completions", json=request, headers={**HEADERS, **headers}, timeout=WAIT_S)


def text_of(event: str) -> str:
    text: str = json.loads(event)["choices"][0]["text"]
    return text
