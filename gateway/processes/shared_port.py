"""A port that several processes listen on."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from triton_repo.contract.errors import LaunchError


class SharedPort:
    """A claim on a port, for as long as it is open.

    Every process gets sockets of its own, and the kernel spreads connections over them by hash. Sockets that all
    processes share would be simpler, but then the worker that polls first takes all that is there: of 8 connections
    that came together one of 4 workers took all, and with sockets of their own the fullest had 4.
    """

    def __init__(self, host: str, port: int) -> None:
        """Port 0 picks a free one.

        Raises:
            LaunchError: the port cannot be listened on, or another program does so.
        """
        self._claims: list[socket.socket] = []
        try:
            addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(addresses):
                self._claims.append(_bound(family, (address[0], self.number or port, *address[2:]), shared=False))
        except OSError as error:
            self.close()
            raise LaunchError(f"port {port} on {host} cannot be listened on: {error.strerror}") from error
        for claim in self._claims:  # only now: other programs could share a claim that was made with it
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    @property
    def number(self) -> int:
        return int(self._claims[0].getsockname()[1]) if self._claims else 0

    def sockets(self) -> list[socket.socket]:
        """One for every address of the host, for one more process: it gets no connection before it listens."""
        with ExitStack() as unless_all_bound:
            sockets = [
                unless_all_bound.enter_context(_bound(claim.family, claim.getsockname(), shared=True))
                for claim in self._claims
            ]
            unless_all_bound.pop_all()
        return sockets

    def close(self) -> None:
        for claim in self._claims:
            claim.close()


def _bound(family: int, address: tuple[str | int, ...], *, shared: bool) -> socket.socket:
    """As asyncio binds a server's socket."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
