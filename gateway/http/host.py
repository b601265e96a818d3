"""The Host of a request, which says under what name a browser has reached this server.

A web page whose name is made to resolve to this machine (DNS rebinding) is of the same origin as what answers here: no
other header tells it from a page of ours. So a server on loopback answers to its own names alone, and to those without
a dot: nobody can register one, so only somebody who answers for names on its own network, by DNS or LLMNR, can make a
page of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.errors import ErrorResponses, MisdirectedRequest
from triton_repo.contract.errors import InvalidRequest, RequestError

ANY_HOST: Final = "*"
_DOTLESS: Final = re.compile(r"[a-z0-9_-]*[a-z][a-z0-9_-]*")
_MAX_KNOWN: Final = 256  # names whose verdict is remembered, with their ports


class CheckHost:
    """ASGI middleware: 400 for HTTP/1.1 without exactly one Host, 421 for one that is not allowed.

    Any address or name of loopback is allowed, and `names`, with every port; with `dotless` also any name without a
    dot, as /etc/hosts and containers have them. In `names` an IPv6 address may lack its brackets.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], errors: ErrorResponses, *, dotless: bool) -> None:
        self._app = app
        self._dotless = dotless
        self._names = frozenset(_address(name) or _name(name.lower()) for name in names)
        self._errors = errors
        self._known: dict[bytes, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await self._errors.response(scope, error)(scope, receive, send)

    def _error(self, scope: Scope) -> RequestError | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            is_old = scope["http_version"] == "1.0" and not hosts
            return None if is_old else InvalidRequest("a request needs exactly one Host header")
        if self._is_allowed(hosts[0]):
            return None
        given = hosts[0][:100].decode("ascii", "backslashreplace")
        return MisdirectedRequest(f"host {given!r} is not a name of this server: --allowed-hosts adds it")

    def _is_allowed(self, host: bytes) -> bool:
        allowed = self._known.get(host)
        if allowed is None:
            allowed = ANY_HOST in self._names or self._is_named(host.decode("latin-1").lower())
            if len(self._known) < _MAX_KNOWN:
                self._known[host] = allowed
        return allowed

    def _is_named(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        is_dotless = self._dotless and _DOTLESS.fullmatch(name) is not None
        return is_dotless or name in self._names or is_loopback(name)


def _name(host: str) -> str | None:
    """The name or address in a Host, without its port; None if it is none."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    return (_address(name) or name) if name and port.isascii() and port.isdigit() else None


def _address(name: str) -> str | None:
    """An address in its usual spelling, without brackets; None for anything else."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    return None


def is_loopback(name: str) -> bool:
    """Whether this address, or name that DNS has no say in (RFC 6761, 6.3), is that of the machine itself."""
    if address := _address(name):
        return ipaddress.ip_address(address).is_loopback
    return name == "localhost" or name.endswith(".localhost")
