"""One gRPC stream to Triton for the requests of many clients: to open one for each costs as much as a short answer.

Triton tags every response, a failure too, with the id of its request. Whoever reads slowly does not hold up the
others: responses wait in the inbox of their request, which is as long as its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from triton_repo.errors import EngineUnavailable, RequestError

Inbox = asyncio.Queue[Any]  # of protobuf ModelStreamInferResponses, or one RequestError that ends it


class TritonStream:
    """To be made inside the event loop that uses it. Broken once, it stays broken: every inbox gets the error."""

    def __init__(self, stub: Any, to_error: Callable[[grpc.aio.AioRpcError], RequestError]) -> None:
        self._to_error = to_error
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._inboxes: dict[str, Inbox] = {}
        self._call = stub.ModelStreamInfer(self._requests())
        self._reader = asyncio.create_task(self._read())

    @property
    def broken(self) -> bool:
        return self._reader.done()

    def open(self, request: Any) -> Inbox:
        """Send a request whose responses are wanted, until `forget`."""
        inbox = self._inboxes[request.id] = asyncio.Queue()
        self._outgoing.put_nowait(request)
        return inbox

    def forget(self, request_id: str) -> None:
        self._inboxes.pop(request_id, None)

    def send(self, request: Any) -> None:
        """Send a request whose responses, if any, belong to nobody."""
        self._outgoing.put_nowait(request)

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait({self._reader})

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            yield await self._outgoing.get()

    async def _read(self) -> None:
        end: RequestError = EngineUnavailable("the engine's stream broke off")
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                inbox = self._inboxes.get(response.infer_response.id)
                if inbox is not None:
                    inbox.put_nowait(response)
        except grpc.aio.AioRpcError as error:
            end = self._to_error(error)
        except asyncio.CancelledError:  # `close`, or the loop's own end
            end = EngineUnavailable("the server is shutting down")
        finally:  # whatever ends the reading, nobody waits for ever
            for inbox in self._inboxes.values():
                inbox.put_nowait(end)
