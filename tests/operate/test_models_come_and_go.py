"""Engines are loaded and unloaded under live streams, through the gateway of a real stack with two workers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import free_port
from tests.launch.replay_engine import write_spec
from tests.launch.server import KEY, Server, serving

pytestmark = pytest.mark.operate

ADMIN_KEY = "sk-admin-4471"
FIRST, SECOND = "The first version tells its tale at length, word for word. " * 3, "The second version is short."
STREAMS = 50
GRACE_S = 25


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("models")
    first = write_spec(directory, tokens_per_second=20, text=FIRST)
    second = write_spec(directory, tokens_per_second=20, text=SECOND, version=2)
    os.environ["CONCH_ADMIN_KEY"] = ADMIN_KEY
    try:
        ports = [free_port() for _ in range(4)]
        with serving(first, ports, "--available", str(second), "--workers", "2") as running:
            yield running
    finally:
        del os.environ["CONCH_ADMIN_KEY"]


def order(server: Server, model: str, verb: str, key: str = ADMIN_KEY) -> httpx.Response:
    url = f"{server.url}/v1/models/{model}/{verb}"
    return httpx.post(url, params={"grace_s": GRACE_S}, headers={"authorization": f"Bearer {key}"})


def stream(server: Server, model: str) -> tuple[str, bool]:
    """The text of an answer, and whether it is whole."""
    body = {"model": model, "prompt": "x", "stream": True, "max_tokens": 500}
    text, whole = "", False
    with httpx.stream(
        "POST", f"{server.url}/v1/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                text += "".join(choice["text"] for choice in json.loads(line[6:]).get("choices", ()))
            whole |= line == "data: [DONE]"
    return text, whole


def states(server: Server) -> dict[str, str]:
    listed = httpx.get(f"{server.url}/admin/models", headers={"authorization": f"Bearer {ADMIN_KEY}"}).json()["data"]
    return {model["id"]: model["state"] for model in listed}


def status_of(server: Server, model: str) -> int:
    body = {"model": model, "prompt": "x", "max_tokens": 1}
    return httpx.post(f"{server.url}/v1/completions", json=body, headers={"authorization": f"Bearer {KEY}"}).status_code


def test_a_second_version_takes_over_and_no_stream_of_the_first_is_lost(server: Server) -> None:
    assert states(server) == {"tale": "loaded", "tale@2": "unloaded"}
    assert status_of(server, "tale@2") == 404
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(stream, server, "tale") for _ in range(STREAMS)]
        time.sleep(2)
        assert order(server, "tale@2", "load").json() == {"id": "tale@2", "object": "model", "state": "loaded"}
        assert stream(server, "tale") == (SECOND, True)
        assert order(server, "tale@1", "unload").json() == {"id": "tale", "object": "model", "state": "unloaded"}
        assert {one.result() for one in streams} == {(FIRST, True)}
    for _ in range(6):  # whichever worker answers
        assert status_of(server, "tale@1") == 404
        assert stream(server, "tale") == (SECOND, True)
    assert states(server) == {"tale": "unloaded", "tale@2": "loaded"}


def test_an_unloaded_engine_is_not_taken_for_a_lost_one_and_can_be_loaded_again(server: Server) -> None:
    order(server, "tale", "unload")
    time.sleep(3)
    assert not server.said("is loading again")
    assert not server.said("starting it again")
    assert order(server, "tale", "load").status_code == 200
    assert stream(server, "tale@1") == (FIRST, True)


def test_only_the_admin_key_may_and_an_unknown_engine_is_told(server: Server) -> None:
    for key in (KEY, "wrong"):
        assert order(server, "tale@2", "unload", key).status_code == 401
    assert order(server, "tale@9", "load").json()["error"]["code"] == "model_not_found"
    assert states(server)["tale@2"] == "loaded"
