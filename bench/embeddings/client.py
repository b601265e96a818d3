"""Clients of /v1/embeddings, each a thread with a connection of its own."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from bench.embeddings.texts import long, short
from bench.load.connection import Target
from triton_repo.contract.errors import BenchError


class Client:
    def __init__(self, target: Target, model: str) -> None:
        self._connection = http.client.HTTPConnection(target.host, target.port, timeout=600)
        self._model = model

    def encode(self, texts: Sequence[str]) -> int:
        """The number of tokens."""
        body = {"model": self._model, "input": texts, "encoding_format": "base64", "truncate_prompt_tokens": -1}
        headers = {"content-type": "application/json"}
        self._connection.request("POST", "/v1/embeddings", json.dumps(body), headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise BenchError(f"/v1/embeddings answered {response.status}: {answer}")
        return int(answer["usage"]["prompt_tokens"])

    def close(self) -> None:
        self._connection.close()


def tokens_per_s(target: Target, model: str, batches: Sequence[Sequence[str]], num_clients: int) -> float:
    """Of `batches`, which `num_clients` share."""

    def work(waiting: Iterator[Sequence[str]]) -> int:
        client = Client(target, model)
        num_tokens = sum(map(client.encode, waiting))
        client.close()
        return num_tokens

    waiting = iter(list(batches))  # of a list: a step of it is one operation, so that threads may share it
    with ThreadPoolExecutor(num_clients) as threads:
        began_s = time.perf_counter()
        counts = list(threads.map(work, [waiting] * num_clients))
        return sum(counts) / (time.perf_counter() - began_s)


def short_latencies_s(target: Target, model: str, count: int, *, beside_long: bool) -> list[float]:
    """Of one short text after the other; `beside_long` while another client sends batches of the longest ones."""
    stop = Event()

    def disturb() -> None:
        client = Client(target, model)
        while not stop.is_set():
            client.encode(long(64))
        client.close()

    with ThreadPoolExecutor(1) as threads:
        disturbing = threads.submit(disturb) if beside_long else None
        if disturbing is not None:
            time.sleep(1)  # until the engine has its hands full
        client = Client(target, model)
        latencies = []
        for number in range(count):
            began_s = time.perf_counter()
            client.encode([short(number)])
            latencies.append(time.perf_counter() - began_s)
        client.close()
        stop.set()
        if disturbing is not None:
            disturbing.result()
    return latencies
