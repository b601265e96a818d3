"""Servers die, and are told to stop, while answers are streamed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import ROOT, Stack, serving

WAIT_S = 240
STREAMS = 12


def a_story(max_tokens: int) -> dict[str, object]:
    return {"model": "replay", "prompt": "x", "max_tokens": max_tokens, "stream": True, "ignore_eos": True}


async def streams(stack: Stack, max_tokens: int, once_they_run: Callable[[], object]) -> list[str]:
    """The bodies of several streams; `once_they_run` is called when each has said something."""
    running = asyncio.Semaphore(0)

    async def read(client: httpx.AsyncClient) -> str:
        body = ""
        request = client.stream("POST", f"{stack.gateway}/v1/completions", json=a_story(max_tokens))
        async with request as response:
            async for text in response.aiter_text():
                if not body:
                    running.release()
                body += text
        return body

    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        readers = [asyncio.create_task(read(client)) for _ in range(STREAMS)]
        for _ in readers:
            await running.acquire()
        once_they_run()
        return await asyncio.gather(*readers)


def process(stack: Stack, name: str) -> psutil.Process:
    """The descendant of the server whose command line holds `name`."""
    family = psutil.Process(stack.pid).children(recursive=True)
    return next(one for one in family if any(name in word for word in one.cmdline()))


def wait_for_an_answer(stack: Stack) -> None:
    deadline = time.monotonic() + WAIT_S
    body = {**a_story(5), "stream": False}
    while httpx.post(f"{stack.gateway}/v1/completions", json=body, timeout=WAIT_S).status_code != 200:
        assert time.monotonic() < deadline, "the engine did not come back"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server that each test leaves answering, whatever it killed of it."""
    with serving("replay", log=tmp_path_factory.mktemp("mortal") / "serve.log") as stack:
        yield stack


@pytest.mark.parametrize(
    ("victim", "number"),
    [
        ("bin/tritonserver", signal.SIGKILL),
        ("bin/tritonserver", signal.SIGINT),  # with open streams it closes its ports, and then hangs
        ("replay_engine/1/model.py", signal.SIGKILL),
    ],
)
def test_when_a_server_is_killed_every_stream_ends_with_one_error_and_the_engine_comes_back(
    mortal: Stack, victim: str, number: signal.Signals
) -> None:
    target = process(mortal, victim)
    bodies = asyncio.run(streams(mortal, 1900, lambda: target.send_signal(number)))
    for body in bodies:
        *_, last = [line for line in body.splitlines() if line]
        assert last.startswith('data: {"error":')
        assert body.count('"error"') == 1
        assert "[DONE]" not in body
    wait_for_an_answer(mortal)


async def answers(stack: Stack, num: int, once_they_are_asked: Callable[[], object]) -> list[httpx.Response]:
    """Of requests, streamed and whole, that have not begun when `once_they_are_asked` is called."""
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        bodies = [{**a_story(20), "stream": number % 2 == 0} for number in range(num)]
        asked = [asyncio.create_task(client.post(f"{stack.gateway}/v1/completions", json=body)) for body in bodies]
        while f"conch_requests_in_flight {num}" not in (await client.get(f"{stack.gateway}/metrics")).text:
            await asyncio.sleep(0.05)
        once_they_are_asked()
        return await asyncio.gather(*asked)


def test_requests_that_had_not_begun_when_their_engine_died_are_answered_once_it_is_back(mortal: Stack) -> None:
    preprocess = process(mortal, "replay_preprocess/1/model.py")
    preprocess.suspend()  # so that none begins
    for response in asyncio.run(answers(mortal, 8, preprocess.kill)):
        assert response.status_code == 200
        *_, last = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
        assert last == "[DONE]" or json.loads(last)["usage"]["completion_tokens"] == 20


SPEC = """
name = "replay"
model = "{checkpoint}"
runtime = "replay"
[serve]
max_step_s = 2
[replay]
text = "And then nothing more was heard of it."
tokens_per_second = 50
"""
HANGS, RAISES = 777, 778  # tokens: a request for so many makes the step hang, or raise an exception
# No engine of Conch's own does so on demand.
HANGING = f"""
import time
from triton_repo.engine.runtimes.replay import ReplayRuntime
play = ReplayRuntime.step
def step(self):
    if any(playing.length == {RAISES} for playing in self._playing.values()):
        self._playing.clear()
        raise RuntimeError("the step failed")
    while any(playing.length == {HANGS} for playing in self._playing.values()):
        time.sleep(1)
    return play(self)
ReplayRuntime.step = step
"""


def hanging_python(directory: Path) -> Path:
    """The interpreter of a Python environment that has what this one has, and in which a step can hang."""
    venv.create(directory, symlinks=True)
    packages = next(directory.glob("lib/python3*/site-packages"))
    (packages / "hanging.py").write_text(HANGING)
    these = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
    (packages / "hanging.pth").write_text(f"{these}\nimport hanging\n")
    return directory / "bin" / "python3"


def test_an_engine_whose_step_fails_or_hangs_ends_its_streams_with_an_error_and_comes_back(tmp_path: Path) -> None:
    spec = tmp_path / "replay.toml"
    spec.write_text(SPEC.format(checkpoint=ROOT / "engines" / "demo" / "checkpoint"))
    conch = (str(hanging_python(tmp_path / "python")), "-m", "launch.cli")
    with serving(str(spec), log=tmp_path / "serve.log", conch=conch) as stack:

        def ask_for(max_tokens: int) -> int:
            return httpx.post(f"{stack.gateway}/v1/completions", json=a_story(max_tokens), timeout=WAIT_S).status_code

        bodies = asyncio.run(streams(stack, 1900, lambda: ask_for(RAISES)))
        assert all(body.count("the engine failed while this request was running") == 1 for body in bodies)
        assert ask_for(5) == 200  # the same process goes on
        bodies = asyncio.run(streams(stack, 1900, lambda: ask_for(HANGS)))
        assert all("the engine has made no progress for " in body for body in bodies), bodies[0][-400:]
        wait_for_an_answer(stack)


@pytest.mark.parametrize("to_all", [False, True])
def test_a_stop_lets_open_streams_end_by_themselves(tmp_path: Path, to_all: bool) -> None:
    """Also if every process gets the signal, as a service manager sends it."""

    def stop() -> None:
        server = psutil.Process(stack.pid)
        for one in (*(server.children(recursive=True) if to_all else ()), server):
            one.send_signal(signal.SIGTERM)

    with serving("replay", log=tmp_path / "serve.log") as stack:
        bodies = asyncio.run(streams(stack, 60, stop))
    assert all(body.endswith("data: [DONE]\n\n") and '"finish_reason":"length"' in body for body in bodies)


def test_a_second_stop_ends_open_streams_with_an_error(tmp_path: Path) -> None:
    def stop_twice() -> None:
        os.kill(stack.pid, signal.SIGTERM)
        wait_until_draining(stack)
        os.kill(stack.pid, signal.SIGTERM)

    with serving("replay", log=tmp_path / "serve.log") as stack:
        bodies = asyncio.run(streams(stack, 1900, stop_twice))
    assert all(body.count('data: {"error":') == 1 for body in bodies), bodies[0][-400:]


def wait_until_draining(stack: Stack) -> None:
    deadline = time.monotonic() + WAIT_S
    while httpx.get(f"{stack.gateway}/health/ready").status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
