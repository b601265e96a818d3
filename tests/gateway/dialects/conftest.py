"""A gateway over the `backend` of a test's module, and OpenAI's own client of it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving


@pytest.fixture(scope="module")
def gateway(backend: ScriptedBackend) -> Iterator[Running]:
    with serving(backend) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        yield client
