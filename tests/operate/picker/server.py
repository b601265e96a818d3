"""The picker: each request to the replica of its session or of its prompt's beginning, as long as that is ready."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import grpc

from tests.operate.picker.messages import SERVICE, ProcessingRequest, ProcessingResponse

DESTINATION: Final = "x-gateway-destination-endpoint"
SESSION: Final = "x-session-id"
_PREFIX: Final = 256  # characters of a prompt that decide
_CHUNK: Final = 62_000  # Envoy takes no more in one message
_OVERWRITE: Final = 2  # HeaderValueOption.HeaderAppendAction
_MAX_STREAMS: Final = 128


class Picker:
    """`endpoints` are ip:port. Attributes: picked: which endpoint each request was sent to, in their order."""

    def __init__(self, endpoints: Sequence[str], is_ready: Callable[[str], bool]) -> None:
        self._endpoints = tuple(endpoints)
        self._is_ready = is_ready
        self._lock = threading.Lock()
        self.picked: list[str] = []

    def pick(self, headers: dict[str, str], body: bytes) -> str | None:
        """By rendezvous hashing, so that the sessions of a lost replica spread over the others, and only those move."""
        key = headers.get(SESSION) or _beginning(body) or str(len(self.picked))
        for endpoint in sorted(self._endpoints, key=lambda each: _weight(key, each), reverse=True):
            if self._is_ready(endpoint):
                with self._lock:
                    self.picked.append(endpoint)
                return endpoint
        return None

    def process(self, requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        """One HTTP request and its response."""
        headers: dict[str, str] = {}
        body = b""
        for message in requests:
            kind = message.WhichOneof("kind")
            part = getattr(message, kind)
            if kind == "request_headers":
                headers = {each.key: (each.raw_value or each.value.encode()).decode() for each in part.headers.headers}
                if part.end_of_stream:
                    yield self._routed(headers, b"")
            elif kind == "request_body":
                body += part.body
                if part.end_of_stream:
                    yield self._routed(headers, body)
                    yield from _streamed("request_body", body, end=True)
            elif kind == "response_body":
                yield from _streamed(kind, part.body, end=part.end_of_stream)
            else:
                answer = ProcessingResponse()
                getattr(answer, kind).SetInParent()
                yield answer

    def _routed(self, headers: dict[str, str], body: bytes) -> Any:
        endpoint = self.pick(headers, body)
        answer = ProcessingResponse()
        if endpoint is None:
            answer.immediate_response.status.code = 503
            answer.immediate_response.body = b"no replica is ready"
            return answer
        common = answer.request_headers.response
        common.clear_route_cache = True
        common.header_mutation.set_headers.add(
            header={"key": DESTINATION, "raw_value": endpoint.encode()}, append_action=_OVERWRITE
        )
        answer.dynamic_metadata.update({"envoy.lb": {DESTINATION: endpoint}})
        return answer


@contextmanager
def picking(picker: Picker) -> Iterator[int]:
    """The picker's port."""
    handler = grpc.stream_stream_rpc_method_handler(
        picker.process,
        request_deserializer=ProcessingRequest.FromString,
        response_serializer=ProcessingResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(_MAX_STREAMS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def _streamed(kind: str, body: bytes, *, end: bool) -> Iterator[Any]:
    for start in range(0, max(len(body), 1), _CHUNK):
        answer = ProcessingResponse()
        chunk = getattr(answer, kind).response.body_mutation.streamed_response
        chunk.body = body[start : start + _CHUNK]
        chunk.end_of_stream = end and start + _CHUNK >= len(body)
        yield answer


def _beginning(body: bytes) -> str:
    try:
        request = json.loads(body)
        return str(request.get("prompt") or request.get("messages") or "")[:_PREFIX]
    except ValueError:
        return ""


def _weight(key: str, endpoint: str) -> bytes:
    return hashlib.sha256(f"{key} {endpoint}".encode()).digest()
