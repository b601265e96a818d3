"""Who reaches Triton's own API (KServe's, over HTTP and gRPC), and how.

That API gives every client all that Triton has: the memory of its models through shared memory regions, its models, its
log. A request of deeply nested JSON ends it. So by default it has no port at all, but sockets in a directory that only
their user can enter. On ports its APIs need a key in a header, which no web page can send without being asked first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Final

from launch.ports import LOOPBACK, Listener, check_socket, reachable
from triton_repo.contract.api_key import KSERVE_KEY_HEADER, KSERVE_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError

KEY_FILE: Final = "kserve-key"

_NEVER_OPEN: Final = ("shared-memory", "model-repository", "logging", "trace")
_WITH_KEY: Final = (*_NEVER_OPEN, "inference", "metadata", "model-config", "statistics")  # all but health
_ALLOWED_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


@dataclass(frozen=True, slots=True)
class TritonAccess:
    """Where Triton listens, and what it asks for.

    Attributes:
        arguments: of tritonserver; `$NAME` is a hidden one.
        http: what the URL of each of its paths begins with.
        grpc: as gRPC names it.
        key: what clients send; None where Triton listens on sockets.
        sockets: files that must not be there when it starts.
        secrets: the hidden arguments, by NAME.
        announcement: a line for the person who starts the server.
    """

    arguments: tuple[str, ...]
    http: str
    grpc: str
    key: str | None = None
    sockets: tuple[Path, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    announcement: str = ""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The flags: whether Triton's own API has ports, and whether requests for inference then need no key."""

    http_port: int
    grpc_port: int
    exposed: bool = False
    without_key: bool = False
    host: str = LOOPBACK

    @property
    def listeners(self) -> tuple[Listener, ...]:
        http = Listener("--triton-http-port", self.host, self.http_port)
        grpc = Listener("--triton-grpc-port", self.host, self.grpc_port)
        return (http, grpc) if self.exposed else ()


def triton_access(exposure: Exposure, directory: Path, environ: Mapping[str, str]) -> TritonAccess:
    """`directory` is private to its user; the key is written to a file in it, if clients need one.

    Raises:
        LaunchError: flags, key or directory are not allowed.
    """
    if exposure.without_key and not exposure.exposed:
        raise LaunchError("--kserve-without-key: only with --expose-kserve")
    if exposure.host != LOOPBACK and (exposure.without_key or not exposure.exposed):
        raise LaunchError(f"--kserve-host = {exposure.host}: only with --expose-kserve, and not without a key")
    if not exposure.exposed:
        return private_sockets(directory)
    key = kserve_key(environ)
    if not exposure.without_key:
        _write_key(directory / KEY_FILE, key)
    return ports(exposure, key, directory / KEY_FILE)


def private_sockets(directory: Path) -> TritonAccess:
    """Sockets in `directory`, which is its user's alone.

    Raises:
        LaunchError: the path is too long for a socket.
    """
    http, grpc, number = directory / "http", directory / "grpc", 1
    grpc_socket = directory / f"grpc:{number}"  # Triton appends the port
    check_socket(grpc_socket)
    return TritonAccess(
        arguments=(f"--http-address=unix:{http}", f"--grpc-address=unix:{grpc}", f"--grpc-port={number}"),
        http=f"unix:{http}:",
        grpc=f"unix:{grpc_socket}",
        sockets=(http, grpc_socket),
        announcement="  Triton's own API:   has no port; --expose-kserve opens it\n",
    )


def ports(exposure: Exposure, key: str, key_file: Path) -> TritonAccess:
    apis = ",".join(_NEVER_OPEN if exposure.without_key else _WITH_KEY)
    restriction = f"{apis}:{KSERVE_KEY_HEADER}={key}"
    host = reachable(exposure.host)
    http = f"http://{host}:{exposure.http_port}"
    access = "without a key" if exposure.without_key else f'with the header {KSERVE_KEY_HEADER}: "$(cat {key_file})"'
    return TritonAccess(
        arguments=(
            f"--http-address={exposure.host}",
            f"--http-port={exposure.http_port}",
            "$CONCH_HTTP_RESTRICTION",
            f"--grpc-address={exposure.host}",
            f"--grpc-port={exposure.grpc_port}",
            "$CONCH_GRPC_RESTRICTION",
        ),
        http=http,
        grpc=f"{host}:{exposure.grpc_port}",
        key=key,
        secrets={
            "CONCH_HTTP_RESTRICTION": f"--http-restricted-api={restriction}",
            "CONCH_GRPC_RESTRICTION": f"--grpc-restricted-protocol={restriction}",
        },
        announcement=f"  Triton's own API:   {http}/v2, {access}\n",
    )


def kserve_key(environ: Mapping[str, str]) -> str:
    """The key that the operator has chosen, else a new one.

    Raises:
        LaunchError: it is not one that Triton can be given. The message does not show it.
    """
    key = environ.get(KSERVE_KEY_VARIABLE) or token_hex(32)
    if not _ALLOWED_KEY.fullmatch(key):
        raise LaunchError(f"{KSERVE_KEY_VARIABLE} = (not shown): allowed are 16 to 128 letters, digits, - and _")
    return key


def _write_key(path: Path, key: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(key)
