"""One HTTP request to a server that may not be there."""

from __future__ import annotations

import http.client
from typing import NamedTuple
from urllib.parse import urlsplit


class ProbeAnswer(NamedTuple):
    status: int
    body: bytes


def probe(url: str, method: str = "GET", body: bytes | None = None, timeout_s: float = 2.0) -> ProbeAnswer | None:
    """The answer, whatever its status, without proxies; None if there is none within `timeout_s` of waiting."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path, body)
        response = connection.getresponse()
        return ProbeAnswer(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def http_status(url: str, timeout_s: float = 2.0) -> int | None:
    """Status of a GET; None if there is no answer."""
    answer = probe(url, timeout_s=timeout_s)
    return None if answer is None else answer.status
