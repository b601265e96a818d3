"""A chat template that takes too much costs its own process and its own request, and holds up no other."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.triton_repo.engine.loop.running_loop import eventually
from triton_repo.bounded_process import Bounds
from triton_repo.contract.errors import (
    ContextLengthExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    RequestError,
    SendAlone,
)
from triton_repo.preprocess.client_text import Marked
from triton_repo.preprocess.template_processes import MAX_SLOW, TemplateProcesses

BOUNDS = Bounds(limit_s=0.3, memory_bytes=128 << 20)
LONG = Bounds(limit_s=600, memory_bytes=128 << 20)
NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

Open = Callable[..., TemplateProcesses]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Open]:
    """Opens the processes of a template, which ends a chat with its last message unless that is "bomb"."""
    opened: list[TemplateProcesses] = []

    def open_processes(bomb: str, bounds: Bounds = BOUNDS) -> TemplateProcesses:
        source = "{% if messages[-1].content == 'bomb' %}" + bomb + "{% endif %}{{ messages[-1].content }}"
        (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
        opened.append(TemplateProcesses(tmp_path, bounds))
        return opened[-1]

    yield open_processes
    for each in opened:
        each.close()


def chat(text: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def render(processes: TemplateProcesses, text: str, **options: Any) -> str:
    [rendered] = processes.render_all([chat(text)], 1000, **options)
    if isinstance(rendered, RequestError):
        raise rendered
    return rendered.text


TIME, MEMORY = "takes longer than 0.3 s of CPU time", "takes more than 128 MiB of memory"
BOMBS = {
    "nested loops": (NESTED, TIME),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        TIME,
    ),
    "a power": ("{{ 9 ** (9**9) }}", TIME),
    "a text many times": ("{{ 'a' * 10**9 }}", MEMORY),
    "a list many times": ("{{ ([0] * 5 * 10**8) | length }}", MEMORY),
    "a set text": ("{% set x = 'a' * 2 * 10**9 %}", MEMORY),
    "doubling": (
        "{% set n = namespace(s='ab') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        MEMORY,
    ),
    "center": ("{{ 'a' | center(10**9) }}", MEMORY),
    "ljust": ("{{ 'a'.ljust(10**9) }}", MEMORY),
    "a width of %": ("{{ '%1000000000d' % 1 }}", MEMORY),
    "a width of the filter": ("{{ '%1000000000d' | format(1) }}", MEMORY),
    "a width in braces": ("{{ '{:1000000000}'.format(1) }}", MEMORY),
    "an indent of JSON": ("{{ [1] | tojson(indent=10**9) }}", MEMORY),
    "join": ("{{ (['a' * 99999] * 99999) | join(' ') | length }}", MEMORY),
    "replace": ("{{ ('a' * 99999).replace('a', 'b' * 99999) | length }}", MEMORY),
    "random text": ("{{ lipsum(n=10**6) }}", f"{TIME}|{MEMORY}"),
    "wrapped words": ("{{ ('a' * 10**7) | wordwrap(1) }}", f"{TIME}|{MEMORY}"),
    "sums of lists": ("{{ ([[0] * 999] * 99999) | sum(start=[]) | length }}", f"{TIME}|{MEMORY}"),
    "lists in lists": (
        "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
        f"{TIME}|{MEMORY}",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_takes_too_much_is_rejected_and_the_next_chat_is_rendered(processes: Open, kind: str) -> None:
    bomb, exceeded = BOMBS[kind]
    opened = processes(bomb)
    with pytest.raises(InvalidRequest, match=f"^messages: the chat template ({exceeded}) for them$") as caught:
        render(opened, "bomb")
    assert caught.value.param == "messages"
    assert render(opened, "hello") == "hello"


def test_others_are_rendered_while_one_takes_long(processes: Open) -> None:
    opened = processes(NESTED, LONG)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(render, opened, "bomb")
        for number in range(200):
            assert render(opened, str(number)) == str(number)
        assert not slow.done()
        end_children(opened)
        with pytest.raises(EngineFailed, match="ended by SIGKILL"):
            slow.result()


def test_no_more_than_some_take_long_at_once_and_the_others_go_on(processes: Open) -> None:
    opened = processes(NESTED, LONG)
    with ThreadPoolExecutor(MAX_SLOW) as threads:
        slow = [threads.submit(render, opened, "bomb") for _ in range(MAX_SLOW)]
        eventually(lambda: len(opened._slow) == MAX_SLOW)  # that all of them run shows nowhere else
        with pytest.raises(EngineUnavailable, match=f"as for {MAX_SLOW} chats before"):
            render(opened, "bomb")
        assert render(opened, "hello") == "hello"
        end_children(opened)
        assert all(isinstance(each.exception(), RequestError) for each in slow)
    assert render(opened, "hello") == "hello"


def test_a_chat_that_others_wait_for_is_to_be_sent_alone_if_it_takes_long(processes: Open) -> None:
    opened = processes(NESTED)
    with pytest.raises(SendAlone):
        render(opened, "bomb", alone=False)
    assert render(opened, "hello", alone=False) == "hello"


def test_chats_together_are_rendered_each_by_itself(processes: Open) -> None:
    opened = processes(NESTED)
    texts = ["a", "bomb", "b" * 900, "", "bomb", "c"]
    together = opened.render_all([chat(text) for text in texts], 1000, alone=False)
    shown = [type(each) if isinstance(each, RequestError) else each.text for each in together]
    assert shown == ["a", SendAlone, "b" * 900, "", SendAlone, "c"]
    alone = opened.render_all([chat(text) for text in texts], 1000)
    assert [type(each) for each in alone] == [Marked, InvalidRequest, Marked, Marked, InvalidRequest, Marked]
    assert opened.render_all([], 1000) == []


def test_a_process_that_has_ended_meanwhile_is_replaced(processes: Open) -> None:
    opened = processes("")
    assert render(opened, "hello") == "hello"
    end_children(opened)
    assert render(opened, "hello") == "hello"


def test_processes_that_cannot_be_started_are_started_later(processes: Open) -> None:
    opened = processes(NESTED)
    assert render(opened, "hello") == "hello"
    with no_more_files():
        for _ in range(2):  # as many as are at hand
            with pytest.raises(InvalidRequest, match=TIME):
                render(opened, "bomb")
        for _ in range(3):
            with pytest.raises(EngineUnavailable, match="no process for the chat template can be started: Too many"):
                render(opened, "hello")
    assert render(opened, "hello") == "hello"


@contextmanager
def no_more_files() -> Iterator[None]:
    """Without pipes no process can be started."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_texts_and_errors_come_back_as_they_are(processes: Open) -> None:
    opened = processes("{{ raise_exception('nö: ' ~ messages | length) }}")
    assert render(opened, "\ud800 你好 \0\n") == "\ud800 你好 \0\n"
    with pytest.raises(InvalidRequest, match=r"^messages: rejected by the chat template: nö: 1$"):
        render(opened, "bomb")
    with pytest.raises(ContextLengthExceeded):
        render(opened, "a" * 2000)
    broken = opened.render_all([b"{", b"[]", b"[" * 100_000, b""], 1000)
    assert [type(each) for each in broken] == [InvalidRequest] * 4


def end_children(opened: TemplateProcesses) -> None:
    """Kill the processes, as the kernel does when memory is short."""
    marker = json.dumps(opened._arguments[0])[1:-1]
    for child in psutil.Process().children():
        if marker in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
            eventually(lambda child=child: has_ended(child))  # type: ignore[misc]


def has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # another thread has waited for it
        return True
