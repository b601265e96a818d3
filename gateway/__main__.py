"""`python -m gateway`: one gateway process, from its flags to its exit status."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from gateway.app import create_app
from gateway.settings import API_KEY_VARIABLE, Settings, load_settings
from gateway.state import Gateway
from triton_repo.errors import LaunchError

_LINGER_S: Final = 3  # for clients that do not read their last bytes


class Server(uvicorn.Server):
    """A uvicorn server that drains before it stops listening, and whose clean end is exit status 0."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http="httptools",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_LINGER_S,
        )
        super().__init__(config)
        self._app = app
        self._grace_s = settings.shutdown_grace_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        gateway: Gateway = self._app.state.gateway
        await gateway.in_flight.drain(self._grace_s)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Unlike uvicorn's, does not raise the signal again after the shutdown; a second SIGINT stops waiting."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = load_settings(_parse(argv))
    except LaunchError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    server = Server(create_app(settings), settings)
    server.run()
    return 0 if server.started else 1


def _parse(argv: list[str]) -> dict[str, Any]:
    """One flag per setting; only those that were given."""
    parser = argparse.ArgumentParser("gateway", description=f"The API key is read from {API_KEY_VARIABLE}.")
    for name, field in Settings.model_fields.items():
        if name != "api_key":
            many = field.annotation == tuple[str, ...]
            parser.add_argument(
                "--" + name.replace("_", "-"),
                help=f"{field.description} (default: {field.default})",
                default=argparse.SUPPRESS,
                nargs="*" if many else None,
            )
    return vars(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
