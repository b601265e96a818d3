"""Engines are loaded and unloaded under live streams, through the gateway of a real stack with two workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import free_port
from tests.faults.processes import TRITON, process
from tests.launch.replay_engine import write_spec
from tests.launch.server import CONCH, KEY, Server, serving
from tests.stream_end import stream_end
from tests.waiting import WAIT_S, wait_for

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


def order(server: Server, model: str, verb: str, key: str = ADMIN_KEY, grace_s: float = GRACE_S) -> httpx.Response:
    url, headers = f"{server.url}/v1/models/{model}/{verb}", {"authorization": f"Bearer {key}"}
    return httpx.post(url, params={"grace_s": grace_s}, headers=headers, timeout=WAIT_S)


def events(server: Server, model: str) -> Iterator[str]:
    """The data of each event of a stream."""
    body = {"model": model, "prompt": "x", "stream": True, "max_tokens": 500}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, headers=headers, timeout=WAIT_S) as answer:
        yield from (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))


def stream(server: Server, model: str) -> tuple[str, bool]:
    """The text of an answer, and whether it is whole."""
    *said, last = events(server, model)
    choices = [choice for event in said for choice in json.loads(event).get("choices", ())]
    return "".join(choice["text"] for choice in choices), last == "[DONE]"


def states(server: Server) -> dict[str, str]:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    listed = httpx.get(f"{server.url}/admin/models", headers=headers, timeout=WAIT_S).json()["data"]
    return {model["id"]: model["state"] for model in listed}


def status_of(server: Server, model: str) -> int:
    body, headers = {"model": model, "prompt": "x", "max_tokens": 1}, {"authorization": f"Bearer {KEY}"}
    return httpx.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=WAIT_S).status_code


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


def test_a_load_that_fails_says_why_and_the_other_version_serves_on(server: Server) -> None:
    assert order(server, "tale@2", "unload").status_code == 200
    tokenizer = server.directory / "built/tale@2/tokenizer/tokenizer.json"
    right = tokenizer.read_bytes()
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(stream, server, "tale") for _ in range(STREAMS)]
        time.sleep(2)
        tokenizer.write_bytes(b"{")
        failed = order(server, "tale@2", "load")
        assert {one.result() for one in streams} == {(FIRST, True)}
    error = failed.json()["error"]
    assert (failed.status_code, error["code"]) == (500, "model_load_failed")
    assert error["message"].startswith("model 'tale@2': load failed: ")
    assert "Cannot instantiate Tokenizer" in error["message"]
    assert "Traceback" not in error["message"]
    assert states(server) == {"tale": "loaded", "tale@2": "unloaded"}
    assert stream(server, "tale") == (FIRST, True)
    tokenizer.write_bytes(right)
    assert order(server, "tale@2", "load").status_code == 200
    assert stream(server, "tale") == (SECOND, True)


def test_a_stream_that_outlasts_the_grace_ends_with_one_error_event_and_no_other_does(server: Server) -> None:
    assert order(server, "tale@2", "load").status_code == 200
    with ThreadPoolExecutor(2) as pool:
        outlasts, other = pool.submit(list, events(server, "tale@1")), pool.submit(stream, server, "tale@2")
        time.sleep(1)
        assert order(server, "tale@1", "unload", grace_s=0.5).json()["state"] == "unloaded"
        said = outlasts.result()
        assert other.result() == (SECOND, True)
    assert (len(said) > 1, stream_end(said)) == (True, "error")
    assert order(server, "tale@1", "load").status_code == 200
    assert stream(server, "tale@1") == (FIRST, True)


def test_a_triton_that_is_started_again_has_the_engines_that_were_loaded_last(server: Server) -> None:
    assert order(server, "tale@1", "unload").status_code == 200
    os.kill(process(server, TRITON), signal.SIGKILL)
    wait_for(lambda: server.said("triton is ready again"), lambda: server.output)
    wait_for(lambda: status_of(server, "tale@2") == 200, lambda: server.output)
    assert states(server) == {"tale": "unloaded", "tale@2": "loaded"}
    assert not [command for command in server.descendants().values() if b"/tale_engine/1/" in command]
    assert status_of(server, "tale@1") == 404
    assert order(server, "tale@1", "load").status_code == 200
    assert stream(server, "tale@1") == (FIRST, True)


def conch(*words: str, admin_key: str = ADMIN_KEY) -> tuple[int, str]:
    """The status of `conch models`, and what it says."""
    keys = {"CONCH_API_KEY": KEY, "CONCH_ADMIN_KEY": admin_key}
    run = subprocess.run(
        (*CONCH, "models", *words),
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def test_the_command_lists_loads_and_unloads_and_tells_what_is_wrong(server: Server) -> None:
    here = ("--url", server.url)
    assert conch("unload", "tale@2", "--grace-s", "1", *here) == (0, "tale@2: unloaded\n")
    assert conch("status", *here) == (0, f"{'tale':32} loaded\n{'tale@2':32} unloaded\n")
    assert conch("load", "tale@2", *here) == (0, "tale@2: loaded\n")
    status, listed = conch("list", *here)
    assert (status, [line.split() for line in listed.splitlines()]) == (
        0,
        [
            ["tale", "generate", "tale@2"],
            ["tale@1", "generate", "tale"],
            ["tale@2", "generate", "tale@2"],
        ],
    )
    assert conch("load", "none", *here) == (2, "conch: model 'none': conch serve has no such engine\n")
    status, said = conch("load", "tale", *here, admin_key="sk-wrong")
    assert (status, "CONCH_ADMIN_KEY" in said) == (2, True)
    nowhere = f"http://127.0.0.1:{free_port()}"
    for verb in (("list",), ("status",), ("load", "tale"), ("unload", "tale")):
        assert conch(*verb, "--url", nowhere) == (2, f"conch: no server answers at {nowhere}\n")
