"""`python -m gateway --workers N`: processes that share a port, kept up and taken down as one gateway."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest

from gateway.admission.tally import create_slots
from gateway.processes.shared_port import SharedPort
from gateway.processes.supervisor import TALLY_FILE, Worker
from launch.descendants import command_line
from tests.conftest import Stack
from tests.gateway.bodies import CHAT, HELLO
from tests.gateway.gateway_process import Gateway, running
from tests.gateway.scrape import requests, scrape, scrape_until, value
from tests.gateway.silent_triton import silent_triton
from tests.waiting import wait_for

NUM_WORKERS = 3
NO_TRITON = ("--triton-grpc", "127.0.0.1:1")


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Iterator[Gateway]:
    triton = ("--triton-grpc", stack.triton_grpc, "--triton-metrics", stack.triton_metrics.removeprefix("http://"))
    with running("--workers", str(NUM_WORKERS), *triton) as gateway:
        wait_for(lambda: gateway.log.count("Application startup complete") == NUM_WORKERS, lambda: gateway.log)
        yield gateway


def ask(gateway: Gateway, stream: bool, max_tokens: int, received: threading.Event | None = None) -> str:
    """How one answer on a connection of its own ended: its finish reason, or the name of the client's error."""
    reason = "none"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        try:
            if not stream:
                answer = client.completions.create(model="replay", prompt="Hello", max_tokens=max_tokens)
                return str(answer.choices[0].finish_reason)
            for chunk in client.completions.create(model="replay", prompt="Hello", max_tokens=max_tokens, stream=True):
                if received is not None:
                    received.set()
                reason = chunk.choices[0].finish_reason or reason
        except (openai.APIError, httpx.TransportError) as error:
            return type(error).__name__
    return str(reason)


def test_whichever_worker_is_asked_the_metrics_are_those_of_all(gateway: Gateway) -> None:
    before = scrape(gateway.url)
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda number: ask(gateway, stream=number % 2 == 0, max_tokens=4), range(24)))
    assert ends == ["length"] * 24
    done = ("/v1/completions", "replay", "2xx", "length")
    expected = requests(before).get(done, 0) + 24
    scrape_until(gateway.url, lambda series: requests(series)[done] == expected)
    for series in (scrape(gateway.url) for _ in range(12)):
        assert requests(series)[done] == expected
        assert value(series, "conch_requests_in_flight") == 0
        for name, increase in {
            "conch_completion_tokens_total": 24 * 4,
            "conch_time_to_first_token_seconds_count": 12,
            "conch_time_per_output_token_seconds_count": 12,
            "conch_request_duration_seconds_count": 24,
            "conch_queue_time_seconds_count": 24,
            "conch_request_completion_tokens_sum": 24 * 4,
        }.items():
            assert value(series, name, model="replay") - value(before, name, model="replay") == increase
        assert value(series, "conch_engine_up", model="replay") == 1
        assert value(series, "nv_inference_request_success", model="replay_preprocess") > 0  # Triton's own


def test_a_killed_worker_takes_only_its_own_streams_with_it_and_is_started_again(gateway: Gateway) -> None:
    streams = [threading.Event() for _ in range(24)]
    before, workers = scrape(gateway.url), gateway.workers
    assert len(workers) == NUM_WORKERS
    with ThreadPoolExecutor(len(streams)) as pool:
        ends = [pool.submit(ask, gateway, stream=True, max_tokens=100, received=received) for received in streams]
        assert all(received.wait(60) for received in streams)
        os.kill(workers[0], signal.SIGKILL)
        outcomes = [end.result(120) for end in ends]
    lost = len(outcomes) - outcomes.count("length")
    assert 0 < lost < len(streams)
    assert "none" not in outcomes  # no client takes a part for the whole
    wait_for(lambda: " serves again" in gateway.log, lambda: gateway.log)
    assert f"(process {workers[0]}) was killed by SIGKILL; starting it again in 0.5 s" in gateway.log
    assert len(set(gateway.workers) & set(workers)) == NUM_WORKERS - 1
    done = ("/v1/completions", "replay", "2xx", "length")
    after = scrape_until(gateway.url, lambda series: value(series, "conch_requests_in_flight") == 0)
    assert requests(after)[done] - requests(before).get(done, 0) == len(streams) - lost


def test_a_worker_that_hangs_is_replaced_and_one_that_goes_on_is_not() -> None:
    with running("--workers", "2", "--hang-timeout-s", "5", *NO_TRITON) as gateway:
        wait_for(lambda: gateway.log.count("Application startup complete") == 2, lambda: gateway.log)
        goes_on, hangs = gateway.workers
        os.kill(goes_on, signal.SIGSTOP)
        time.sleep(1)
        os.kill(goes_on, signal.SIGCONT)
        os.kill(hangs, signal.SIGSTOP)
        wait_for(lambda: " serves again" in gateway.log, lambda: gateway.log)
        assert f"(process {hangs}) was killed by SIGKILL" in gateway.log
        assert goes_on in gateway.workers
        assert hangs not in gateway.workers


def test_a_worker_that_ended_before_it_served_has_ended_and_does_not_hang() -> None:
    async def start_and_watch() -> tuple[bool, str]:
        link, theirs = socket.socketpair()
        link.setblocking(False)
        process = await asyncio.create_subprocess_exec("false", pass_fds=(theirs.fileno(),))
        theirs.close()
        worker = Worker(0, process, link)
        serves = await worker.serves(60)
        await worker.ends_or_hangs(60)
        return serves, str(worker)

    serves, end = asyncio.run(start_and_watch())
    assert not serves
    assert end.endswith("ended with exit status 1")


def test_an_answer_under_way_is_finished_before_the_gateway_ends(stack: Stack, tmp_path: Path) -> None:
    flags, environment = ("--workers", "2", "--triton-grpc", stack.triton_grpc), {"TMPDIR": str(tmp_path)}
    with running(*flags, environment=environment) as gateway, ThreadPoolExecutor(8) as pool:
        streams = [threading.Event() for _ in range(8)]
        ends = [pool.submit(ask, gateway, stream=True, max_tokens=60, received=received) for received in streams]
        assert all(received.wait(60) for received in streams)
        assert len(list(tmp_path.glob("conch-gateway-*/open-requests"))) == 1
        assert gateway.stop(signal.SIGTERM) == 0
        assert [end.result(120) for end in ends] == ["length"] * 8
        assert "Traceback" not in gateway.log
    assert list(tmp_path.glob("conch-gateway-*")) == []


def test_one_worker_does_not_share_its_metrics(tmp_path: Path) -> None:
    with running(*NO_TRITON, environment={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) as gateway:
        httpx.post(gateway.url + CHAT, json={"model": "demo", "messages": [HELLO]})
        assert requests(scrape(gateway.url)) == {(CHAT, "", "5xx", "error"): 1}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_interrupt_does_not_wait_for_the_grace(workers: str) -> None:
    with (
        silent_triton() as triton,
        running("--workers", workers, "--triton-grpc", triton, "--shutdown-grace-s", "3600") as gateway,
        ThreadPoolExecutor(4) as pool,
    ):
        body = {"model": "demo", "messages": [HELLO]}
        waiting = [pool.submit(httpx.post, gateway.url + CHAT, json=body, timeout=120) for _ in range(4)]
        scrape_until(gateway.url, lambda series: value(series, "conch_requests_in_flight") == 4)
        gateway.process.send_signal(signal.SIGINT)
        wait_for(lambda: "shutting down" in httpx.get(f"{gateway.url}/health/ready").text, lambda: gateway.log)
        assert gateway.stop(signal.SIGINT) == 0
        assert [request.result().status_code for request in waiting] == [503] * 4


def test_the_bound_on_open_requests_is_that_of_all_workers_together() -> None:
    flags = ("--workers", "3", "--max-concurrent-requests", "10", "--shutdown-grace-s", "0")
    with silent_triton() as triton, running(*flags, "--triton-grpc", triton) as gateway, ThreadPoolExecutor(10) as pool:
        body = {"model": "demo", "messages": [HELLO]}
        waiting = [pool.submit(httpx.post, gateway.url + CHAT, json=body, timeout=120) for _ in range(10)]
        scrape_until(gateway.url, lambda series: value(series, "conch_requests_in_flight") == 10)
        for _ in range(12):
            rejected = httpx.post(gateway.url + CHAT, json=body)
            assert (rejected.status_code, rejected.json()["error"]["code"]) == (503, "server_is_overloaded")
            assert rejected.json()["error"]["message"] == "the server is busy with 10 requests"
        assert gateway.stop(signal.SIGTERM) == 0
        assert [request.result().status_code for request in waiting] == [503] * 10


def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    with running("--workers", "2", *NO_TRITON, environment={"TMPDIR": str(tmp_path)}) as gateway:
        workers = gateway.workers
        assert len(workers) == 2
        assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
        assert not any(map(command_line, workers))  # a zombie has none
        assert "Traceback" not in gateway.log


def test_a_port_in_use_is_one_sentence() -> None:
    with running("--workers", "2", *NO_TRITON) as first:
        second = Gateway("--workers", "2", "--port", str(first.port), *NO_TRITON)
        assert second.ends() == 2
        (line,) = second.log.splitlines()
        assert line == f"port {first.port} on 127.0.0.1 cannot be listened on: Address already in use"
        assert first.stop(signal.SIGTERM) == 0


def test_a_worker_that_cannot_start_ends_the_gateway_with_its_own_last_words(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ImportError('a broken installation')", encoding="utf-8")
    environment = {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    gateway = Gateway("--workers", "2", *NO_TRITON, environment=environment)
    assert gateway.ends() == 2
    assert "ImportError: a broken installation" in gateway.log
    assert gateway.log.splitlines()[-1].endswith(") ended with exit status 1 before it could serve")
    assert list(tmp_path.glob("conch-gateway-*")) == []


def test_a_worker_that_hangs_while_it_starts_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uvicorn.py").write_text("import time; time.sleep(600)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def start() -> Worker:
        worker = await Worker.start(0, [], (), tmp_path)
        assert not await worker.serves(timeout_s=0.5)
        return worker

    worker = asyncio.run(asyncio.wait_for(start(), 60))
    assert str(worker).endswith(" was killed by SIGKILL")
    assert worker.served_s == 0


def test_the_time_that_a_worker_served_ends_with_its_process(tmp_path: Path) -> None:
    async def start() -> tuple[float, float]:
        create_slots(tmp_path / TALLY_FILE, 1)
        with closing(SharedPort("127.0.0.1", 0)) as port:
            worker = await Worker.start(0, port.sockets(), NO_TRITON, tmp_path)
        assert await worker.serves()
        worker.signal(signal.SIGKILL)
        await worker.ends()
        served_s = worker.served_s
        await asyncio.sleep(0.1)
        await worker.ends()
        return served_s, worker.served_s

    first, later = asyncio.run(asyncio.wait_for(start(), 60))
    assert 0 < first == later


def test_the_parent_does_not_load_what_only_workers_need() -> None:
    heavy = {"fastapi", "grpc", "prometheus_client", "uvicorn"}
    code = f"import gateway.__main__, gateway.processes.supervisor, sys; print(*({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


def test_zero_workers_are_rejected() -> None:
    gateway = Gateway("--workers", "0")
    assert gateway.ends() == 2
    assert gateway.log == "gateway setting workers = '0': Input should be greater than or equal to 1\n"
