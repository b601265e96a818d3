"""One HTTP request to a server that may not be there."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_SOCKET_SCHEME: Final = "unix:"


class ProbeAnswer(NamedTuple):
    status: int
    body: bytes


def probe(
    url: str,
    body: bytes | None = None,
    timeout_s: float = 2.0,
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    verify: bool = False,
) -> ProbeAnswer | None:
    """The answer, whatever its status, without proxies; None if there is none within `timeout_s` of waiting.

    A body, which may be empty, is sent with POST.

    `url` is `http://HOST:PORT/…` or `unix:SOCKET:/…`, where SOCKET is a path, and no other colon comes after it; or
    `https://HOST:PORT/…`, whose certificate is not looked at unless `verify`: it is for another name than this machine
    knows itself by. What is sent with a key elsewhere needs `verify`.

    Raises:
        ssl.SSLCertVerificationError: the certificate does not verify.
        ValueError: the URL's port is none.
    """
    connection, path = _connection(url, timeout_s, verify)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        response = connection.getresponse()
        return ProbeAnswer(response.status, response.read())
    except ssl.SSLCertVerificationError:
        if verify:
            raise
        return None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _connection(url: str, timeout_s: float, verify: bool) -> tuple[http.client.HTTPConnection, str]:
    if url.startswith(_SOCKET_SCHEME):
        socket_path, _, path = url.removeprefix(_SOCKET_SCHEME).rpartition(":")
        return _SocketConnection(socket_path, timeout_s), path
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if parts.scheme == "https":
        host, context = parts.hostname or "", ssl.create_default_context() if verify else _trusting_any()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context), path
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s), path


@cache
def _trusting_any() -> ssl.SSLContext:
    """One for all: a default one would read the certificates of this machine, which nothing here asks for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def http_status(url: str, timeout_s: float = 2.0) -> int | None:
    """Status of a GET; None if there is no answer."""
    answer = probe(url, timeout_s=timeout_s)
    return None if answer is None else answer.status
