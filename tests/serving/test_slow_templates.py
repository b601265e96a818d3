"""A chat for which its model's template takes long, or too much, holds up no other prompt of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Stack, serving
from tests.triton_repo.preprocess.engines_with_templates import write_spec
from triton_repo.preprocess.template_processes import BOUNDS

TEMPLATE = """{% for m in messages %}{% if m.content == 'all memory' %}{{ 'a' * 10**9 }}{% endif %}
{%- for other in messages %}{% for n in range(200) %}{% set x = other.role ~ n %}{% endfor %}{% endfor %}
{{- m.content }}{% endfor %}"""
QUICK_CHATS = 40


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("slow")
    with serving(str(write_spec(directory, "slow", TEMPLATE)), log=directory / "serve.log") as running:
        yield running


def body(*contents: str) -> dict[str, Any]:
    return {"model": "slow", "messages": [{"role": "user", "content": content} for content in contents]}


async def ask(client: httpx.AsyncClient, *contents: str) -> tuple[int, str]:
    response = await client.post("/v1/chat/completions", json=body(*contents))
    return response.status_code, response.text


def test_others_are_answered_while_a_template_takes_long(slow: Stack) -> None:
    """All are sent at once, so that some are rows of one message to Triton with those that take long."""

    async def together() -> None:
        async with httpx.AsyncClient(base_url=slow.gateway, timeout=240, limits=httpx.Limits()) as client:
            quadratic = asyncio.create_task(ask(client, *["a"] * 150))
            greedy = asyncio.create_task(ask(client, "all memory"))
            others = await asyncio.gather(*(ask(client, "hi") for _ in range(QUICK_CHATS)))
            assert [answer for answer in others if answer[0] != 200] == []
            assert not quadratic.done()
            status, text = await greedy
            assert status == 400
            assert f"messages: the chat template takes more than {BOUNDS.memory_bytes >> 20} MiB of memory" in text
            status, text = await quadratic
            assert status == 200
            assert "Here I am." in text

    asyncio.run(together())
