"""Responses from real engines: with OpenAI's client, through several workers, and over a restart of the gateway."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import openai

from tests.conftest import Stack
from tests.gateway.gateway_process import running
from tests.waiting import wait_for


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def begun(url: str) -> str:
    """The id of a long response; each client is another connection, which any worker may get."""
    with client_of(url) as client:
        response = client.responses.create(
            model="replay", input="Hello", background=True, max_output_tokens=1900, extra_body={"ignore_eos": True}
        )
    return response.id


def status(url: str, id: str) -> str | None:
    with client_of(url) as client:
        return client.responses.retrieve(id).status


def test_a_conversation_goes_on_with_the_demo_engine(stack: Stack) -> None:
    with client_of(stack.gateway) as client:
        first = client.responses.create(model="demo", input="Once upon", max_output_tokens=8, temperature=0)
        assert (first.status, first.incomplete_details is not None) in (("completed", False), ("incomplete", True))
        assert first.usage is not None
        with client.responses.stream(
            model="demo", input="And then?", previous_response_id=first.id, max_output_tokens=8, temperature=0
        ) as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        second = client.responses.create(
            model="demo", input="And then?", previous_response_id=first.id, max_output_tokens=8, temperature=0
        )
        assert second.output_text == "".join(texts)
        assert second.usage is not None
        assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
        counted = client.responses.input_tokens.count(
            model="demo", input="And then?", previous_response_id=first.id
        ).input_tokens
        assert counted == second.usage.input_tokens


def test_any_worker_cancels_and_a_restart_loses_nothing(stack: Stack, tmp_path: Path) -> None:
    flags = ("--triton-grpc", stack.triton_grpc, "--store", str(tmp_path / "store.sqlite"))
    with running(*flags, "--workers", "2") as gateway:
        with client_of(gateway.url) as client:
            kept = client.responses.create(model="replay", input="Hello", max_output_tokens=5)
        *cancelled, left = [begun(gateway.url) for _ in range(4)]
        for id in cancelled:
            with client_of(gateway.url) as client:
                assert client.responses.cancel(id).status == "cancelled"
        live = {"model": "replay", "state": "live"}
        wait_for(lambda: stack.engine_metric("conch_engine_requests", **live) <= 1, lambda: gateway.log)
        wait_for(lambda: status(gateway.url, left) == "in_progress", lambda: str(status(gateway.url, left)))
        for process in (gateway.process.pid, *gateway.workers):
            os.kill(process, signal.SIGKILL)
    with running(*flags) as gateway, client_of(gateway.url) as client:
        assert client.responses.retrieve(kept.id).output_text == kept.output_text
        assert [status(gateway.url, id) for id in (*cancelled, left)] == [*["cancelled"] * 3, "failed"]
        assert [item.type for item in client.responses.input_items.list(kept.id)] == ["message"]
        client.responses.create(model="replay", input="More", previous_response_id=kept.id, max_output_tokens=5)
