"""From the bytes of a request body to a JSON object, within bounds of size, time and type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from gateway.answers.byte_budget import ByteBudget
from gateway.http.errors import BodyTimeout, BodyTooLarge, UnsupportedMediaType
from triton_repo.contract.errors import InvalidRequest

MAX_NODES: Final = 2**17  # lists, objects and their keys: what JSON costs, far more than its numbers and strings

_LARGE: Final = 2**18  # bytes; it takes a few milliseconds to parse
_LEAST_PER_S: Final = 2**16  # bytes
_NODES: Final = (b"[", b"{", b":")


async def read_object(
    scope: Scope, receive: Receive, max_bytes: int, timeout_s: float, budget: ByteBudget
) -> dict[str, Any]:
    """The JSON object that a client sent. The last value of a repeated key counts.

    orjson is strict where Python's own parser is not: NaN, 1e999, half a surrogate pair, invalid UTF-8, a byte
    order mark and nesting beyond 1024 are all rejected; an integer beyond 64 bits becomes a float.

    Raises:
        UnsupportedMediaType, BodyTooLarge, BodyTimeout, InvalidRequest, ClientDisconnect
        EngineUnavailable: `budget` is spent.
    """
    headers = Headers(scope=scope)
    check_type(headers, "application/json")
    with budget.share() as share:
        body = bytearray()
        async for piece in read_pieces(headers, receive, max_bytes, timeout_s):
            body += piece
            share.set(len(body))
        return await parse_object(bytes(body))


async def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises: InvalidRequest."""
    if sum(map(body.count, _NODES)) > MAX_NODES and await num_nodes(body) > MAX_NODES:
        raise InvalidRequest(f"the request body may have at most {MAX_NODES} lists, objects and keys together")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from None
    if len(body) > _LARGE:
        await asyncio.sleep(0)  # other requests go on before this one is validated, which takes as long again
    if not isinstance(value, dict):
        raise InvalidRequest("the request body must be a JSON object")
    return value


async def num_nodes(body: bytes, step_bytes: int = _LARGE) -> int:
    """How many lists, objects and keys there are in JSON, as far as it takes to know that they are too many.

    They are counted before they are made, because nothing else runs while orjson makes them.
    """
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # a quote that is left begins or ends a string
    count, in_string = 0, False
    for start in range(0, len(text), step_bytes):
        pieces = text[start : start + step_bytes].split(b'"')
        outside = b"".join(pieces[in_string::2])
        count += sum(map(outside.count, _NODES))
        if count > MAX_NODES:
            break
        in_string ^= len(pieces) % 2 == 0
        await asyncio.sleep(0)
    return count


def check_type(headers: Headers, *allowed: str) -> None:
    """The empty type is that of a body that has none. Raises: UnsupportedMediaType."""
    content_type = headers.get("content-type", "")
    if content_type.split(";", 1)[0].strip().lower() not in allowed:
        raise UnsupportedMediaType(f"content-type: only {' or '.join(filter(None, allowed))} is accepted")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("content-encoding: send the body uncompressed")


async def read_pieces(headers: Headers, receive: Receive, max_bytes: int, timeout_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Each `_LEAST_PER_S` bytes put the end of the timeout off by a second: less is as good as
    nothing.

    Raises:
        BodyTooLarge, BodyTimeout, ClientDisconnect
    """
    too_large = BodyTooLarge(f"the request body is larger than {max_bytes} bytes")
    if int(headers.get("content-length", 0)) > max_bytes:  # the HTTP parser has checked that it is a number
        raise too_large
    num_bytes, more = 0, True
    end_s = asyncio.get_running_loop().time() + timeout_s
    while more:
        try:
            async with asyncio.timeout_at(end_s + num_bytes / _LEAST_PER_S):
                message = await receive()
        except TimeoutError:
            raise BodyTimeout(f"the request body came too slowly: {timeout_s:g} s without enough of it") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise too_large
        more = message.get("more_body", False)
        yield piece
