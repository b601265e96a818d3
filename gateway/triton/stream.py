"""One gRPC stream to Triton for the requests of many clients, and on it one channel for the deltas of each engine.

To open a stream for each request costs as much as a short answer, and a message for each delta more than the engine:
requests that wait to be sent are rows of one message, and a message on a channel carries the deltas of all that are
due. A slow reader does not hold up the others: deltas wait in the inbox of their request, up to a bound.

Ids on the stream are a request's own, `rows-…` for several that travel together, `channel-…`, and `renew:channel-…`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import grpc

from gateway.answers.backend import EngineLost, Generation
from gateway.triton.channels import Channel, Channels
from gateway.triton.errors import model_error, rpc_error
from gateway.triton.inbox import MAX_ALL_WAITING, MAX_WAITING, Backlog, Inbox
from gateway.triton.responses import MalformedResponse, read_deltas
from gateway.triton.wire import Row, batches, infer_request, pack_row, stop_request
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, RequestError, from_wire
from triton_repo.contract.tensors import CHANNEL_LEASE_S

logger = logging.getLogger(__name__)

_RENEWAL_S: Final = CHANNEL_LEASE_S / 4
_CLOSE_TIMEOUT_S: Final = 0.5  # for Triton to take the last requests


class Control(NamedTuple):
    """A message to Triton that asks for no answer."""

    message: Any


class TritonStream:
    """Created inside the event loop that uses it. Broken once, it stays broken: every inbox gets the error."""

    def __init__(self, stub: Any) -> None:
        self._outgoing: asyncio.Queue[Row | Control | None] = asyncio.Queue()  # None ends the stream
        self._inboxes: dict[str, Inbox] = {}  # by request id
        self._backlog = Backlog()
        self._stalled_s: dict[str, float] = {}  # by model: when a renewal was last rejected
        self._channels = Channels(lambda message: self._outgoing.put_nowait(Control(message)))
        self._call = stub.ModelStreamInfer(self._requests())
        self._reader = asyncio.create_task(self._read())
        self._renewer = asyncio.create_task(self._renew())

    @property
    def broken(self) -> bool:
        return self._reader.done()

    def when_broken(self, then: Callable[[], None]) -> None:
        self._reader.add_done_callback(lambda _: then())

    def is_stalled(self, model: str) -> bool:
        """Whether the engine has rejected a renewal lately, for it makes no progress with live requests."""
        return time.monotonic() - self._stalled_s.get(model, float("-inf")) < 2 * _RENEWAL_S

    def ask(self, generation: Generation, ended: Callable[[], None], *, alone: bool = False) -> Inbox:
        """Send a request whose deltas are wanted, until `forget`; `ended` is called when the last of them is here.

        `alone`: in a message of its own.
        """
        channel = self._channels.to(generation.model)
        row = pack_row(generation, channel.name, alone=alone)
        inbox = self._inboxes[generation.request_id] = Inbox(generation, channel, ended, self._backlog)
        self._outgoing.put_nowait(row)
        return inbox

    def forget(self, generation: Generation) -> None:
        if inbox := self._inboxes.pop(generation.request_id, None):
            inbox.drop()

    def cancel(self, generation: Generation, error: RequestError | None) -> None:
        """Tell the engine to stop; with `error`, which ends the request here, the engine's answer is not waited for."""
        inbox = self._inboxes.get(generation.request_id)
        if error is not None and inbox is not None:
            inbox.end(error)
        self._outgoing.put_nowait(Control(stop_request(generation.model, generation.request_id)))

    def lose(self, model: str) -> None:
        """The engine has died, and what it had of its requests and channels with it."""
        for channel in self._channels.forget_all(model):
            self._end_requests(channel, EngineLost("the engine was lost"))

    def lose_all(self) -> None:
        for model in {inbox.generation.model for inbox in self._inboxes.values()}:
            self.lose(model)

    async def close(self) -> None:
        """End the channels, which Triton would otherwise wait for when it stops, and then the stream."""
        self._renewer.cancel()
        self._channels.renew_or_end(in_use=())
        self._outgoing.put_nowait(None)
        await asyncio.wait({self._reader}, timeout=_CLOSE_TIMEOUT_S)
        self._call.cancel()
        await asyncio.wait({self._reader})

    async def _renew(self) -> None:
        """Renew the channels that are in use, and end the others."""
        while not self.broken:
            await asyncio.sleep(_RENEWAL_S)
            self._channels.renew_or_end({inbox.channel for inbox in self._inboxes.values()})

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            waiting = [await self._outgoing.get()]
            while not self._outgoing.empty():
                waiting.append(self._outgoing.get_nowait())
            for message in self._in_order([item for item in waiting if item is not None]):
                yield message
            if None in waiting:
                return

    def _in_order(self, waiting: Sequence[Row | Control]) -> Iterator[Any]:
        """The messages for what waits: a channel is opened before its rows, and a stop follows its row."""
        rows: list[Row] = []
        for item in waiting:
            if isinstance(item, Row):
                rows.append(item)
            else:
                yield from self._in_batches(rows)
                yield item.message
                rows = []
        yield from self._in_batches(rows)

    def _in_batches(self, rows: Iterable[Row]) -> Iterator[Any]:
        """The rows as few messages; that of several has an id of its own, so that no stop shares it."""
        for batch in batches(rows):
            yield infer_request(batch, batch[0].request_id if len(batch) == 1 else self._id_of(batch))

    def _id_of(self, rows: Sequence[Row]) -> str:
        triton_id = f"rows-{uuid.uuid4().hex}"
        for row in rows:
            if inbox := self._inboxes.get(row.request_id):
                inbox.triton_id = triton_id
        return triton_id

    async def _read(self) -> None:
        end: RequestError = EngineLost("the engine's stream broke off")
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                if response.error_message:
                    self._fail(response.infer_response.id, response.error_message)
                else:
                    self._deliver(response.infer_response)
        except grpc.aio.AioRpcError as error:
            end = rpc_error(error)
        except asyncio.CancelledError:  # `close`, or the loop's own end
            end = EngineUnavailable("the server is shutting down")
        finally:  # whatever ends the reading, no request waits for ever
            self._call.cancel()
            for inbox in self._inboxes.values():
                inbox.put_nowait(end)

    def _deliver(self, response: Any) -> None:
        if not response.outputs:
            if channel := self._channels.forget(response.id):  # its requests have ended, unless something was lost
                self._end_requests(channel, EngineLost("the engine's channel has ended"))
            return
        try:
            deltas = read_deltas(response)
        except MalformedResponse as error:
            self._fail_malformed(response.id, error)
            return
        self._channels.count(response.id, sum(map(len, response.raw_output_contents)))
        for request_id, delta in deltas:
            inbox = self._inboxes.get(request_id)
            if inbox is not None:
                inbox.add(delta)
                if inbox.num_waiting > MAX_WAITING and inbox.qsize() > 1:  # a single one waits for no slow reader
                    self._give_up(inbox)
        while self._backlog.num_waiting > MAX_ALL_WAITING:
            self._give_up(max(self._inboxes.values(), key=attrgetter("num_waiting")))

    def _give_up(self, slow: Inbox) -> None:
        self.cancel(slow.generation, EngineUnavailable("the client reads its stream too slowly"))
        self.forget(slow.generation)

    def _fail(self, id: str, text: str) -> None:
        """A renewal, a request or a channel failed; with a channel every request that may have lost deltas on it."""
        if channel := self._channels.renewed(id):
            logger.error("engine %s rejected the renewal of a channel: %r", channel.model, text)
            self._stalled_s[channel.model] = time.monotonic()
        elif channel := self._channels.forget(id):
            error = from_wire(text)
            if error is None:  # Triton's own, which none of the requests has caused
                model_error(text, channel.model, id)  # it logs
                error = EngineLost("the engine's channel broke off")
            self._end_requests(channel, error)
        elif rows := self._rows_of(id):
            error = model_error(text, rows[0].channel.model, id)
            for inbox in rows:
                inbox.put_nowait(error)
        else:
            logger.warning("Triton on request %r, which has ended: %r", id, text)

    def _fail_malformed(self, id: str, error: MalformedResponse) -> None:
        """Whatever the response was meant for fails; other requests, and the stream, go on."""
        logger.error("malformed response to request %s: %s", id, error)
        failed = EngineFailed("the engine failed")
        if channel := self._channels.forget(id):
            self._channels.end(channel)
            self._end_requests(channel, failed)
        for inbox in self._rows_of(id):
            inbox.put_nowait(failed)

    def _rows_of(self, triton_id: str) -> list[Inbox]:
        return [inbox for inbox in self._inboxes.values() if inbox.triton_id == triton_id]

    def _end_requests(self, channel: Channel, error: RequestError) -> None:
        for inbox in self._inboxes.values():
            if inbox.channel is channel:
                inbox.put_nowait(error)
