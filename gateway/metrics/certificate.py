"""When a certificate ends: DER read as far as that, as Python has no public way to ask."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17
_LONG: Final = 0x80
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


def ends_at(file: Path) -> float:
    """Unix time of `notAfter` of the first certificate of a PEM file (RFC 5280, section 4.1).

    Raises:
        OSError: it cannot be read.
        ValueError: it is no certificate.
    """
    _, begin, rest = file.read_text(encoding="utf-8", errors="replace").partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not end:
        raise ValueError(f"{file} holds no certificate")
    try:
        fields = _items(_items(_items(ssl.PEM_cert_to_DER_cert(begin + body + end))[0][1])[0][1])
        at = 4 if fields[0][0] == _VERSION else 3  # after the serial number, the algorithm and the issuer
        tag, text = _items(fields[at][1])[1]
    except IndexError:
        raise ValueError(f"{file}: the certificate is cut short") from None
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _items(data: bytes) -> list[tuple[int, bytes]]:
    """The tags and contents of what a constructed value consists of."""
    items = []
    while data:
        length, start = data[1], 2
        if length & _LONG:
            start += length & ~_LONG
            length = int.from_bytes(data[2:start])
        if start + length > len(data):
            raise ValueError("a certificate is cut short")
        items.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return items
