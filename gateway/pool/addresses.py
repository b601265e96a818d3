"""Where the Triton servers are: fixed addresses, names that DNS resolves, and a file that may change at any time."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.catalog.settings_file import read_settings_file
from triton_repo.contract.errors import LaunchError

logger = logging.getLogger(__name__)

DNS: Final = "dns:"
_ADDRESS: Final = re.compile(r"unix:\S+|(dns:)?(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):\d{1,5}")
_RULE: Final = "must be HOST:PORT, unix:PATH or dns:NAME:PORT"


class Addresses:
    """What is known of them. Of a file, and of each name, the last that could be read stays valid.

    Args:
        fixed: HOST:PORT, unix:PATH, or dns:NAME:PORT, which stands for every address that the name has.
        file: more of the same, one on a line; empty lines and lines that begin with # are skipped.
    """

    def __init__(self, fixed: Iterable[str], file: Path | None) -> None:
        self._fixed = tuple(fixed)
        self._file = file
        self._of_file: tuple[str, ...] = ()
        self._of_name: dict[str, tuple[str, ...]] = {}

    async def current(self) -> frozenset[str]:
        """HOST:PORT and unix:PATH alone."""
        names = (*self._fixed, *self._read_file())
        resolved = await asyncio.gather(*(self._resolve(name) for name in names))
        return frozenset(address for addresses in resolved for address in addresses)

    def _read_file(self) -> tuple[str, ...]:
        if self._file is not None:
            try:
                self._of_file = read_addresses(self._file)
            except LaunchError as error:
                logger.warning("%s; the servers stay as they were", error)
        return self._of_file

    async def _resolve(self, name: str) -> tuple[str, ...]:
        if not name.startswith(DNS):
            return (name,)
        host, _, port = name.removeprefix(DNS).rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            logger.warning("%s: %s; the servers stay as they were", name, error)
        else:
            self._of_name[name] = tuple(_with_port(str(address[0]), int(port)) for *_, address in found)
        return self._of_name.get(name, ())


def check_address(address: str) -> str:
    """
    Raises:
        ValueError: it is none.
    """
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"{address[:200]!r} {_RULE}")
    return address


def read_addresses(file: Path) -> tuple[str, ...]:
    """
    Raises:
        LaunchError: it cannot be read, or a line is no address; names the file, the line and what is allowed.
    """
    lines = read_settings_file(file).splitlines()
    addresses = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            try:
                addresses.append(check_address(line))
            except ValueError as error:
                raise LaunchError(f"{file}, line {number}: {error}") from None
    return tuple(addresses)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
