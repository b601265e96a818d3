"""A receiver of OTLP over HTTP, as a collector is one."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@contextmanager
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """Its URL, and the scopes of spans that it is sent."""
    scopes: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            is_json = "json" in self.headers["content-type"]  # as Triton sends it
            request = _from_json(json.loads(body)) if is_json else ExportTraceServiceRequest.FromString(body)
            assert self.path == "/v1/traces"
            scopes.extend(scope for resource in request.resource_spans for scope in resource.scope_spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", scopes
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _from_json(export: Any) -> Any:
    """OTLP's JSON is that of protobuf, but for ids in hexadecimal digits."""
    for resource in export["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for id in ("traceId", "spanId", "parentSpanId"):
                    span[id] = base64.b64encode(bytes.fromhex(span.get(id, ""))).decode()
    return ParseDict(export, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
