"""One gRPC stream to Triton for the requests of many clients, and on it one channel for the deltas of each engine.

To open a stream for each request costs as much as a short answer, and a message for each delta more than the engine:
requests that wait to be sent are rows of one message, and on a channel one carries the deltas of all that are due.
Whoever reads slowly does not hold up the others: deltas wait in the inbox of their request, which is as long as its
answer.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from typing import Any, Final

import grpc

from gateway.answers.backend import Delta, Generation
from gateway.triton.batch import batches
from gateway.triton.channels import Channel, Channels
from gateway.triton.wire import Row, infer_request, pack_row, read_deltas, stop_request
from triton_repo.contract.errors import EngineUnavailable, RequestError
from triton_repo.contract.tensors import CHANNEL_LEASE_S

_RENEWAL_S: Final = CHANNEL_LEASE_S / 4
_FAREWELL_S: Final = 0.5  # for Triton to take the last requests


class Inbox(asyncio.Queue[Delta | RequestError]):
    """What came for one request, which rides on `channel`; a RequestError is the end of it.

    `triton_id` is the id of the request to Triton of which it is a row.
    """

    def __init__(self, channel: Channel, triton_id: str) -> None:
        super().__init__()
        self.channel = channel
        self.triton_id = triton_id


class TritonStream:
    """To be made inside the event loop that uses it. Broken once, it stays broken: every inbox gets the error.

    Args:
        to_error: what the end of the stream by gRPC means.
        to_failure: what Triton's error message about a request to a model means.
    """

    def __init__(
        self,
        stub: Any,
        to_error: Callable[[grpc.aio.AioRpcError], RequestError],
        to_failure: Callable[[str, str], RequestError],
    ) -> None:
        self._to_error = to_error
        self._to_failure = to_failure
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()  # Rows, messages to Triton, and None for the end
        self._inboxes: dict[str, Inbox] = {}  # by request id
        self._channels = Channels(self._outgoing.put_nowait)
        self._call = stub.ModelStreamInfer(self._requests())
        self._reader = asyncio.create_task(self._read())
        self._renewer = asyncio.create_task(self._renew())

    @property
    def broken(self) -> bool:
        return self._reader.done()

    def ask(self, generation: Generation) -> Inbox:
        """Send a request whose deltas are wanted, until `forget`."""
        channel = self._channels.to(generation.model)
        row = pack_row(generation, channel.name)
        inbox = self._inboxes[generation.request_id] = Inbox(channel, generation.request_id)
        self._outgoing.put_nowait(row)
        return inbox

    def forget(self, generation: Generation) -> None:
        self._inboxes.pop(generation.request_id, None)

    def cancel(self, generation: Generation) -> None:
        self._outgoing.put_nowait(stop_request(generation.model, generation.request_id))

    async def close(self) -> None:
        """End the channels, which Triton would otherwise wait for when it stops, and then the stream."""
        self._renewer.cancel()
        self._channels.tend(in_use=())
        self._outgoing.put_nowait(None)
        await asyncio.wait({self._reader}, timeout=_FAREWELL_S)
        self._call.cancel()
        await asyncio.wait({self._reader})

    async def _renew(self) -> None:
        """Keep the channels that are in use, and end the others."""
        while not self.broken:
            await asyncio.sleep(_RENEWAL_S)
            self._channels.tend({inbox.channel for inbox in self._inboxes.values()})

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            waiting = [await self._outgoing.get()]
            while not self._outgoing.empty():
                waiting.append(self._outgoing.get_nowait())
            for are_rows, items in groupby(waiting, key=lambda item: isinstance(item, Row)):
                for message in map(self._in_one, batches(items)) if are_rows else items:
                    if message is None:
                        return
                    yield message

    def _in_one(self, rows: Sequence[Row]) -> Any:
        """The rows as one message to Triton; that of several has an id of its own, so that no stop shares it."""
        if len(rows) == 1:
            return infer_request(rows, rows[0].request_id)
        triton_id = f"rows-{uuid.uuid4().hex}"
        for row in rows:
            if inbox := self._inboxes.get(row.request_id):
                inbox.triton_id = triton_id
        return infer_request(rows, triton_id)

    async def _read(self) -> None:
        end: RequestError = EngineUnavailable("the engine's stream broke off")
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                if response.error_message:
                    self._fail(response.infer_response.id, response.error_message)
                else:
                    self._deliver(response.infer_response)
        except grpc.aio.AioRpcError as error:
            end = self._to_error(error)
        except asyncio.CancelledError:  # `close`, or the loop's own end
            end = EngineUnavailable("the server is shutting down")
        finally:  # whatever ends the reading, nobody waits for ever
            self._call.cancel()
            for inbox in self._inboxes.values():
                inbox.put_nowait(end)

    def _deliver(self, response: Any) -> None:
        if not response.outputs:
            self._channels.forget(response.id)
            return
        self._channels.count(response.id)
        for request_id, delta in read_deltas(response):
            inbox = self._inboxes.get(request_id)
            if inbox is not None:
                inbox.put_nowait(delta)

    def _fail(self, id: str, message: str) -> None:
        """A request failed, or a channel and with it whoever may have lost deltas on it."""
        rows = [inbox for inbox in self._inboxes.values() if inbox.triton_id == id]
        if rows:
            error = self._to_failure(message, rows[0].channel.model)
            for inbox in rows:
                inbox.put_nowait(error)
        channel = self._channels.forget(id)
        if channel is None:
            return
        self._to_failure(message, channel.model)  # it logs
        for inbox in self._inboxes.values():
            if inbox.channel is channel:
                inbox.put_nowait(EngineUnavailable("the engine's channel broke off"))
