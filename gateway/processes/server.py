"""One process that serves the application."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from gateway.app import Application
from gateway.http.connections import Connections, raise_file_limit
from gateway.http.protocol import HttpProtocol
from gateway.http.slow_clients import notice_the_gone
from gateway.settings import Settings
from gateway.tls import TlsServer

logger = logging.getLogger(__name__)

_LINGER_S: Final = 3  # for clients that do not read their last bytes
_HURRY_POLL_S: Final = 0.1


class Server(uvicorn.Server):
    """A uvicorn server that drains before it stops listening, and whose clean end is exit status 0.

    A second signal, if it is SIGINT, ends the grace for open requests.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self._connections = Connections(min(settings.max_connections, raise_file_limit()))
        config = uvicorn.Config(
            app.asgi,
            host=settings.host,
            port=settings.port,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            http=partial(HttpProtocol, self._connections),  # type: ignore[arg-type]
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # nothing asks for the client's address
            timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]  # only handed to call_later
            timeout_graceful_shutdown=_LINGER_S,
        )
        super().__init__(config)
        self._app = app
        self._grace_s = settings.shutdown_grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which would not bound the TLS handshakes of clients."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        addresses: list[dict[str, Any]] = [{"sock": one} for one in sockets or ()]
        try:
            own = {"host": self.config.host, "port": self.config.port}
            self.servers = [await self._listen(**address) for address in addresses or [own]]
        except OSError as error:
            logger.error("%s", error)
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        if sockets is None:
            self._log_started_message(self.servers[0].sockets)
        self.started = True

    async def _listen(self, **address: Any) -> asyncio.Server:
        config = self.config
        connect: Callable[[], asyncio.Protocol] = partial(
            config.http_protocol_class,  # type: ignore[call-arg]
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        server = await asyncio.get_running_loop().create_server(
            connect, **address, backlog=config.backlog, start_serving=config.ssl is None
        )
        for one in server.sockets:
            notice_the_gone(one)
        if config.ssl is None:
            return server
        listeners = [one.dup() for one in server.sockets]
        server.close()
        for one in listeners:
            one.listen(config.backlog)
        return cast("asyncio.Server", TlsServer(listeners, config.ssl, self._connections, connect))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        gateway = self._app.gateway
        drain = asyncio.create_task(gateway.in_flight.drain(self._grace_s))
        while not drain.done():
            if self.force_exit:
                gateway.in_flight.end_grace()
            await asyncio.wait({drain}, timeout=_HURRY_POLL_S)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Unlike uvicorn's, does not raise the signal again after the shutdown."""
        self.force_exit |= self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def freeze_heap() -> None:
    """Keep what is loaded now out of the garbage collector's sight; to be called when everything is.

    Otherwise a full collection looks through all that the imports have left, and stops every stream for that long:
    28 ms, twice a second under load.
    """
    gc.collect()
    gc.freeze()
