from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.descendants import command_line, marked_processes
from launch.health import answer_watch
from launch.health.faults import Fault
from launch.journal import LogLine
from launch.process import Process
from launch.service import Service
from launch.shared_memory import SHM
from launch.supervisor import Supervisor
from tests.launch.conftest import (
    IGNORES_SIGTERM,
    SAYS_BYE,
    STAYS,
    WAIT_S,
    Log,
    Running,
    assert_nothing_left,
    service,
    until,
)
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.restart_policy import RestartPolicy

pytestmark = pytest.mark.asyncio


def web(name: str, port: int) -> Service:
    """A server on `port` that is ready only after a while."""
    code = (
        "import http.server, time; time.sleep(0.5);"
        f"http.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    return service(name, code, ready_urls=(f"http://127.0.0.1:{port}/",))


async def start_fails(log: Log, *services: Service) -> str:
    """The message with which starting them fails; nothing may be left."""
    with pytest.raises(LaunchError) as caught:
        await Supervisor(services, log).run(lambda: pytest.fail("it called itself ready"))
    assert_nothing_left(*services)
    return str(caught.value)


async def supervise_in_a_process(triton: Service) -> asyncio.subprocess.Process:
    """A supervisor of `triton` that is up, in a process that may get signals.

    This one may not: OpenVINO leaves the thread that loaded it with an alternate signal stack that it has unmapped.
    """
    code = (
        "import asyncio\nfrom launch.service import Service\nfrom launch.supervisor import Supervisor\n"
        f"service = Service('triton', {triton.argv!r}, {{}}, {triton.mark!r})\n"
        "log = lambda source, line: print(line, flush=True)\n"
        "asyncio.run(Supervisor([service], log).run(lambda: None))\n"
    )
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert supervisor.stdout
    assert await supervisor.stdout.readline() == b"up\n"
    return supervisor


async def test_each_server_is_ready_before_the_next_starts(
    running: Running, log: Log, free_port: Callable[[], int]
) -> None:
    port = free_port()
    asks = f"import http.client; c = http.client.HTTPConnection('127.0.0.1', {port}); c.request('GET', '/');"
    asks += f"print('first answers', c.getresponse().status, flush=True); {STAYS}"
    async with running(web("first", port), service("second", asks)):
        await until(lambda: log.saying("first answers 200") == ["second"])


async def test_the_other_engines_are_watched_while_one_is_loaded_again(log: Log) -> None:
    faults = [Fault("a hangs", "a"), Fault("a hangs", "a"), Fault("b hangs", "b"), Fault("all hang")]
    recovered: list[str] = []

    async def find_fault() -> Fault | None:
        return faults.pop(0) if faults else None

    async def recover(engine: str, _pid: int, _log: LogLine) -> bool:
        recovered.append(engine)
        return await asyncio.Event().wait()

    triton = service("triton", STAYS, find_faults=(find_fault,), recover=recover)
    process = await Process.start(triton, log)
    async with asyncio.timeout(WAIT_S):
        await process.fails()
    assert recovered == ["a", "b"]
    assert process.how_it_ended() == "was stopped because all hang"
    assert_nothing_left(triton)


async def test_servers_stop_in_reverse_order_so_that_the_gateway_drains_first(running: Running, log: Log) -> None:
    async with running(service("triton", SAYS_BYE), service("gateway", SAYS_BYE)):
        await until(lambda: len(log.saying("up")) == 2)
    assert log.saying("bye") == ["gateway", "triton"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_the_servers(number: signal.Signals) -> None:
    triton = service("triton", SAYS_BYE)
    supervisor = await supervise_in_a_process(triton)
    supervisor.send_signal(number)
    said, _ = await supervisor.communicate()
    assert said.splitlines()[-1] == b"bye"
    assert supervisor.returncode == 0
    assert_nothing_left(triton)


async def test_a_server_that_dies_is_started_again_and_the_other_one_is_left_alone(running: Running, log: Log) -> None:
    triton, gateway = service("triton", STAYS), service("gateway", STAYS)
    async with running(triton, gateway):
        await until(lambda: len(log.saying("up")) == 2)
        (victim,), (other,) = marked_processes(triton.mark), marked_processes(gateway.mark)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: log.saying("up").count("triton") == 2)
        assert marked_processes(gateway.mark) == (other,)
        assert marked_processes(triton.mark) != (victim,)
    assert log.saying("triton was killed by SIGKILL: up; starting it again in 0.05 s") == ["conch"]
    assert log.saying("triton is ready again") == ["conch"]


async def test_a_server_that_cannot_be_started_again_is_tried_until_it_can(
    running: Running, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that has no file or process left for it."""
    triton, gateway = service("triton", STAYS), service("gateway", STAYS)
    async with running(triton, gateway):
        await until(lambda: len(log.saying("up")) == 2)
        with monkeypatch.context() as short:
            short.setattr(os, "pipe", no_file_left)
            os.kill(marked_processes(triton.mark)[0], signal.SIGKILL)
            await until(lambda: len(log.saying("triton cannot be started: [Errno 24] ")) == 3)
            assert len(marked_processes(gateway.mark)) == 1
        await until(lambda: log.saying("triton is ready again") == ["conch"])


def no_file_left() -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_what_cannot_look_at_a_server_for_now_finds_nothing_wrong_with_it(running: Running, log: Log) -> None:
    looks = iter([OSError(errno.EMFILE, "no file is left"), None, Fault("its heart stopped")])

    async def find_fault() -> Fault | None:
        if isinstance(found := next(looks, None), OSError):
            raise found
        return found

    async with running(service("triton", STAYS, find_faults=(find_fault,))):
        await until(lambda: log.count(("triton", "up")) == 2)
    assert log.saying("triton was stopped because ") == log.saying("its heart stopped; ") == ["conch"]


async def test_a_server_at_fault_is_killed_and_started_again(running: Running, log: Log) -> None:
    faults = iter([None, Fault("its heart stopped")])

    async def find_fault() -> Fault | None:
        return next(faults, None)

    async with running(service("triton", STAYS, find_faults=(find_fault,))):
        await until(lambda: log.count(("triton", "up")) == 2)
    assert log.saying("triton was stopped because its heart stopped; starting it again in 0.05 s") == ["conch"]


async def test_a_server_that_stops_answering_is_killed_and_started_again(
    running: Running, log: Log, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_watch, "POLL_S", 0.1)
    port = free_port()
    answers_for_a_while = (
        "import http.server, time\n"
        f"server = http.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler)\n"
        "for _ in range(3): server.handle_request()\n"
        "server.server_close(); print('deaf', flush=True); time.sleep(600)"
    )
    url = f"http://127.0.0.1:{port}/"
    triton = service("triton", answers_for_a_while, ready_urls=(url,), live_url=url, max_silence_s=0.5)
    async with running(triton):
        await until(lambda: log.count(("triton", "deaf")) == 2)
    assert "conch" in log.saying("triton was stopped because it has not answered for ")


@pytest.mark.parametrize("ready_urls", [(), ("http://[::1]:9/",)])  # of a gateway that is ready, or starts for long
async def test_a_server_that_keeps_dying_is_given_up_and_ends_the_others(log: Log, ready_urls: tuple[str, ...]) -> None:
    triton = service("triton", "print('out of luck', flush=True); raise SystemExit(3)")
    gateway = service("gateway", SAYS_BYE, ready_urls=ready_urls, start_timeout_s=60)
    supervisor = Supervisor((triton, gateway), log, RestartPolicy(first_delay_s=0.01, max_failures=3))
    with pytest.raises(LaunchError) as caught:
        await supervisor.run(lambda: None)
    assert str(caught.value) == ("triton ended with exit status 3: out of luck (it failed 3 times in a row: giving up)")
    assert log.saying("out of luck").count("triton") == 3
    assert_nothing_left(triton, gateway)


async def test_the_time_that_a_server_served_ends_with_the_process(log: Log) -> None:
    process = await Process.start(service("triton", STAYS), log)
    assert await process.becomes_ready()
    os.kill(process.pid, signal.SIGKILL)
    await process.fails()
    served_s = process.served_s
    await asyncio.sleep(0.1)
    assert process.served_s == served_s > 0


async def test_a_server_that_was_never_ready_served_for_no_time(log: Log) -> None:
    process = await Process.start(service("triton", "raise SystemExit(1)", ready_urls=("http://[::1]:9/",)), log)
    assert not await process.becomes_ready()
    assert process.served_s == 0


async def test_a_server_that_ends_before_it_is_ready_is_an_error_with_its_last_words(
    log: Log, free_port: Callable[[], int]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    code = "import sys; print('warming up'); sys.exit('no room for the model')"
    message = await start_fails(log, service("triton", code, ready_urls=(url,)))
    assert message == "triton ended with exit status 1 before it was ready: no room for the model"


async def test_a_server_that_is_not_ready_in_time_is_an_error_and_does_not_stay(
    log: Log, free_port: Callable[[], int]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    message = await start_fails(
        log, service("triton", "import time; time.sleep(600)", ready_urls=(url,), start_timeout_s=0.3)
    )
    assert message == "triton was not ready after 0.3 s"


async def test_a_missing_program_is_an_error_with_its_name(log: Log, tmp_path: Path) -> None:
    missing = Service(
        "triton", (str(tmp_path / "tritonserver"),), {}, uuid.uuid4().hex, ready_urls=("http://[::1]:9/",)
    )
    message = await start_fails(log, missing)
    assert message.startswith("triton ended with exit status 127 before it was ready")
    assert "tritonserver: No such file or directory" in message


async def test_a_stop_while_a_server_still_starts_leaves_nothing(log: Log, free_port: Callable[[], int]) -> None:
    starting = service("triton", SAYS_BYE, ready_urls=(f"http://127.0.0.1:{free_port()}/",))
    supervisor = Supervisor((starting, service("gateway", STAYS)), log)
    run = asyncio.ensure_future(supervisor.run(lambda: pytest.fail("it called itself ready")))
    await until(lambda: log.saying("up") == ["triton"])
    supervisor.request_stop()
    await run
    assert log.saying("bye") == ["triton"]
    assert_nothing_left(starting)


async def test_a_server_that_ignores_sigterm_is_killed_at_its_deadline(running: Running, log: Log) -> None:
    async with running(service("triton", IGNORES_SIGTERM, stop_timeout_s=0.2)):
        await until(lambda: log.saying("up") == ["triton"])


async def test_a_second_stop_does_not_wait_for_a_deadline(running: Running, log: Log) -> None:
    async with running(service("triton", IGNORES_SIGTERM, stop_timeout_s=3600)) as supervisor:
        await until(lambda: log.saying("up") == ["triton"])
        supervisor.request_stop()


async def test_a_second_stop_lets_a_server_say_its_last_words(running: Running, log: Log) -> None:
    code = IGNORES_SIGTERM.replace("print", "try:\n print").replace("time.sleep", " time.sleep")
    code += "except KeyboardInterrupt: print('bye', flush=True)"
    async with running(service("gateway", code, stop_timeout_s=3600)) as supervisor:
        await until(lambda: log.saying("up") == ["gateway"])
        supervisor.request_stop()
    assert log.saying("bye") == ["gateway"]


async def test_a_grandchild_in_its_own_session_does_not_outlive_its_server(running: Running, log: Log) -> None:
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STAYS!r}], start_new_session=True);"
    triton = service("triton", orphan + STAYS)
    async with running(triton):
        await until(lambda: log.count(("triton", "up")) == 2)
        before = marked_processes(triton.mark)
        (leader,) = [pid for pid in before if command_line(pid) == triton.argv]
        assert len(before) == 2
        os.kill(leader, signal.SIGKILL)
        await until(lambda: log.count(("triton", "up")) == 4)
        assert not set(before) & set(marked_processes(triton.mark))


@pytest.mark.parametrize("end", ["time.sleep(600)", "sys.exit(1)"])
async def test_shared_memory_is_removed_after_a_stop_and_after_a_failed_start(
    log: Log, end: str, free_port: Callable[[], int]
) -> None:
    prefix = f"conch_test_{uuid.uuid4().hex}_"
    code = f"import sys, time; open('/dev/shm/{prefix}1', 'w'); print('up', flush=True); {end}"
    triton = service("triton", code, shm_prefix=prefix, ready_urls=(f"http://127.0.0.1:{free_port()}/",))
    supervisor = Supervisor((triton,), log)
    run = asyncio.ensure_future(supervisor.run(lambda: None))
    await until(lambda: log.saying("up") == ["triton"])
    supervisor.request_stop()
    await asyncio.wait({run})
    run.exception()
    assert_nothing_left(triton)
    assert not (SHM / f"{prefix}1").exists()


async def test_only_lines_that_matter_are_shown_and_the_rest_still_explains_an_exit(log: Log) -> None:
    def triton(code: str) -> Service:
        return service("triton", code, line_matters=lambda line: line.startswith("!"), ready_urls=("http://[::1]:9/",))

    assert (await start_fails(log, triton("print('! the cause'); print('chatter')"))).endswith(": ! the cause")
    assert (await start_fails(log, triton("print('chatter')"))).endswith(": chatter")
    assert log == [("triton", "! the cause")]


async def test_servers_die_with_a_supervisor_that_is_killed() -> None:
    triton = service("triton", SAYS_BYE)
    supervisor = await supervise_in_a_process(triton)
    assert marked_processes(triton.mark)
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: marked_processes(triton.mark) == ())
