"""A name server of one name: what it answers may change at any time, as that of a cluster does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

NAME: Final = "triton.internal"
_ADDRESS: Final = ("127.0.53.1", 53)  # a resolver knows no other port
_A: Final = 1
_ANSWER: Final = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04"  # of that name, for an hour: 4 bytes


@dataclass
class NameServer:
    """`addresses` are those of NAME; `resolv_conf` sends a resolver here."""

    resolv_conf: Path
    addresses: list[str] = field(default_factory=list)

    def answer(self, query: bytes) -> bytes:
        """To a query with one question, which is that for IPv4 addresses of NAME; others have none."""
        end = query.index(b"\0", 12) + 5
        name = b".".join(_labels(query[12 : end - 5])).decode()
        is_known = name.lower() == NAME and int.from_bytes(query[end - 4 : end - 2]) == _A
        found = [_ANSWER + socket.inet_aton(each) for each in self.addresses] if is_known else []
        return query[:2] + b"\x85\x80\0\1" + len(found).to_bytes(2) + b"\0\0\0\0" + query[12:end] + b"".join(found)


def _labels(name: bytes) -> Iterator[bytes]:
    while name:
        yield name[1 : 1 + name[0]]
        name = name[1 + name[0] :]


@contextmanager
def name_server(directory: Path) -> Iterator[NameServer]:
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text(f"nameserver {_ADDRESS[0]}\n", encoding="utf-8")
    server = NameServer(resolv_conf)
    with socket.socket(type=socket.SOCK_DGRAM) as listener:
        listener.bind(_ADDRESS)

        def serve() -> None:
            while True:
                query, client = listener.recvfrom(512)
                if not query:
                    return
                listener.sendto(server.answer(query), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            listener.sendto(b"", _ADDRESS)  # its end
            thread.join()
