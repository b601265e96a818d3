"""A served gateway, and a raw connection to it; test files with clients of their own define their own `client`."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.gateway.http.raw_client import connect
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with serving(ScriptedBackend()) as running:
        yield running


@pytest.fixture
def client(gateway: Running) -> Iterator[socket.socket]:
    with connect(gateway) as client:
        yield client
