"""Runs the commands of other threads, on the loop's thread."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.commands import (
    AddAdapter,
    Close,
    CloseAdapter,
    Command,
    Renew,
    Stop,
    Submit,
    Subscribe,
    Wake,
)
from triton_repo.engine.loop.delivery import Delivery, send_error
from triton_repo.engine.loop.live_requests import LiveRequests
from triton_repo.engine.loop.outlet import Live, Outlet, Sink
from triton_repo.engine.loop.stream import Stream
from triton_repo.engine.runtimes.runtime import AdaptingRuntime, Generation, Runtime, adapter_unloaded


@contextmanager
def _told_of_failure(done: Future[bool]) -> Iterator[None]:
    """Who waits is told too, and not the loop alone, which goes on with other commands."""
    try:
        yield
    except Exception:
        done.set_exception(EngineFailed("the engine failed"))
        raise


class CommandRunner:
    """`is_open` until it has run a `Close`: then it accepts nothing more."""

    def __init__(self, runtime: Runtime, live: LiveRequests, channels: Channels, delivery: Delivery) -> None:
        self._runtime = runtime
        self._live = live
        self._channels = channels
        self._delivery = delivery
        self._keys = itertools.count(1)
        self.is_open = True

    def run(self, command: Command) -> None:
        match command:
            case Submit():
                self._submit(command)
            case Subscribe(channel, sink):
                self._subscribe(channel, sink)
            case Renew(channel):
                self._channels.renew(channel, time.monotonic())
            case Stop(name):
                self._stop(name)
            case AddAdapter(add, done):
                with _told_of_failure(done):
                    add()
                    done.set_result(True)
            case CloseAdapter(_, _, done):
                with _told_of_failure(done):
                    done.set_result(self._close_adapter(command))
            case Close():
                self._close()
            case Wake():
                pass

    def _submit(self, command: Submit) -> None:
        request_id, request, sink = command.request_id, command.request, command.sink
        if not self.is_open:
            send_error(request_id, sink, shutting_down())
            return
        if request_id and self._live.by_id(request_id):
            error = InvalidRequest(f"request id {request_id!r} is in use by a running request", "id")
            send_error(request_id, sink, error)
            return
        outlet = self._channels.get(command.channel) or Outlet(sink)
        live = Live(next(self._keys), request_id, Stream(request_id, request), sink, outlet)
        if not self._live.add(live):
            self._delivery.cancel(live)
            return
        generation = Generation(
            live.key, request.input_ids, request.max_tokens, request.end_ids, request.sampling, request.prompt_logprobs
        )
        request.trace.enter("prefill")
        try:
            self._runtime.submit(generation)
        except (EngineFailed, EngineUnavailable) as failure:
            self._delivery.fail(live, failure)

    def _subscribe(self, channel: str, sink: Sink) -> None:
        if not self.is_open:
            send_error(channel, sink, shutting_down())
        elif channel in self._channels:
            send_error(channel, sink, InvalidRequest(f"channel {channel!r} is open already", "id"))
        else:
            self._channels.open(channel, sink, time.monotonic())

    def _stop(self, name: str) -> None:
        live = self._live.by_id(name)
        if live is not None:
            self._delivery.cancel(live)
        elif name in self._channels:
            self._delivery.end_channel(name)
        else:
            self._live.cancel_on_arrival(name)

    def _close_adapter(self, command: CloseAdapter) -> bool:
        users = [live for live in self._live if live.stream.adapter == command.name]
        if users and not command.at_once:
            return False
        for live in users:
            self._runtime.cancel(live.key)
            self._delivery.fail(live, adapter_unloaded(command.name))
        if isinstance(self._runtime, AdaptingRuntime):
            self._runtime.close_adapter(command.name)
        return True

    def _close(self) -> None:
        self.is_open = False
        self._delivery.fail_all(shutting_down())
        for name in self._channels:
            self._delivery.end_channel(name)


def shutting_down() -> EngineUnavailable:
    return EngineUnavailable("the engine is shutting down")
