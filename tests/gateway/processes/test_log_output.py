"""The log of a gateway process: every line, in order, those of the access log in few writes."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.processes.log_output import BatchedHandler


class Writes(io.StringIO):
    """A stream that counts its writes."""

    count = 0

    def write(self, text: str) -> int:
        self.count += 1
        return super().write(text)


class FullDisk(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def stream() -> Writes:
    return Writes()


@pytest.fixture
def logger(stream: Writes) -> Iterator[logging.Logger]:
    logger = logging.Logger("access")
    handler = BatchedHandler(stream, "access")
    logger.addHandler(handler)
    yield logger
    handler.close()


@pytest.mark.asyncio
async def test_lines_within_an_event_loop_are_written_together(stream: Writes, logger: logging.Logger) -> None:
    for number in range(100):
        logger.info("line %d", number)
    assert stream.count == 0
    while not stream.count:
        await asyncio.sleep(0.01)
    assert stream.getvalue().splitlines() == [f"line {number}" for number in range(100)]
    assert stream.count == 1
    logger.info("later")
    while stream.count < 2:
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_line_of_another_logger_is_written_at_once_after_the_lines_before_it(
    stream: Writes, logger: logging.Logger
) -> None:
    other = logging.Logger("other")
    other.addHandler(logger.handlers[0])
    logger.info("first")
    other.info("second")
    assert stream.getvalue().splitlines() == ["first", "second"]


@pytest.mark.asyncio
async def test_waiting_lines_are_bounded(stream: Writes, logger: logging.Logger) -> None:
    for _ in range(2_500):
        logger.info("line")
    assert (stream.count, len(stream.getvalue().splitlines())) == (2, 2_000)


def test_lines_without_an_event_loop_are_written_at_once(stream: Writes, logger: logging.Logger) -> None:
    logger.info("starting")
    assert stream.getvalue() == "starting\n"


@pytest.mark.asyncio
async def test_a_line_that_cannot_be_formatted_costs_only_itself(
    stream: Writes, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("one %d", "not a number")
    logger.info("two")
    logger.handlers[0].flush()
    assert stream.getvalue() == "two\n"
    assert "one %d" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    logger, errors = logging.Logger("access"), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    handler = BatchedHandler(FullDisk(), "access")
    logger.addHandler(handler)
    handler.handle(logging.makeLogRecord({"name": "other", "msg": "written at once"}))
    logger.info("written later")
    while handler.buffer:
        await asyncio.sleep(0.01)
    assert not errors


def test_a_process_that_exits_writes_what_waits() -> None:
    program = (
        "import asyncio, logging, sys\n"
        "from gateway.processes.log_output import log_to\n"
        "log_to(sys.stderr)\n"
        "async def main(): logging.getLogger('gateway.access').info('the last words')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stderr.endswith(" INFO gateway.access the last words\n")
