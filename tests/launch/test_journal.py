from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from launch.journal import MAX_LINE_BYTES, Journal, last_words, read_lines, triton_line_matters, why_not_loaded

# Lines of tritonserver 2.51.
INFO = """I1121 04:52:27.318809 2392 model_lifecycle.cc:472] "loading: e_pre:1\""""
MODEL_INFO = "I1121 05:15:12.1 2392 model.py:27] KV cache: 512 MiB"
WARNING = 'W1121 04:52:28.722524 2392 metrics.cc:798] "something is slow"'
ERROR = """E1121 05:12:35.668942 8762 model_lifecycle.cc:642] "failed to load 'm' version 1: Internal: no such file\""""
NO_DRIVER = 'E1121 04:52:27.317390 2392 server.cc:241] "CudaDriverHelper has not been initialized."'
NO_NVML = "Error: Failed to initialize NVML"
NO_DELAY = "[\x1b[1;33mWARN\x1b[0;39m]  evhtp.c:4050 NODELAY NOT SUPPORTED :: (errno: Operation not supported)"
TABLE = ("+-------+---------+--------+", "| Model | Version | Status |", "| e     | 1       | READY  |")
TRACEBACK = ERROR.replace("no such file", r"ValueError: bad engine.json\n\nAt:\n  /r/m/1/model.py(1): <module>\n")
DEPENDS = """E1121 05:12:36.1 8762 model_repository_manager.cc:703] "Invalid argument: ensemble 'e' depends on 'm'\""""
ODD = 'E1121 05:12:36.1 8762 model_repository_manager.cc:1460] "the repository is odd"'
NOT_ALL = "error: creating server: Internal - failed to load all models"
NOT_CREATED = "error: creating server: Invalid argument - load failed for model 'm': no module named 'foo'"
BIND = """E1121 05:12:38.156124 8793 main.cc:245] "failed to start GRPC service: Unavailable - already in use \""""
ACCESS = "2026-11-27 10:15:02,120 INFO gateway.access POST /v1/chat/completions 200 0.003 s id=1 key=api-key"
GATEWAY_ERROR = "2026-11-27 10:15:02,120 ERROR gateway.processes.server [Errno 98] address already in use"
GATEWAY_INFO = "2026-11-27 10:15:02,121 INFO uvicorn.error Application shutdown complete."
LOADER = "tritonserver: error while loading shared libraries: libdcgm.so.3: cannot open shared object file"


@pytest.mark.parametrize("line", [MODEL_INFO, WARNING, ERROR, "a print of a model", NOT_CREATED])
def test_warnings_errors_and_what_models_say_are_shown(line: str) -> None:
    assert triton_line_matters(line, gpu=False)


@pytest.mark.parametrize("line", [INFO, NO_DELAY, *TABLE, "", "  "])
def test_tables_and_tritons_own_chatter_are_shown_only_on_request(line: str) -> None:
    assert not triton_line_matters(line, gpu=True)
    assert triton_line_matters(line, gpu=True, verbose=True)


@pytest.mark.parametrize("line", [NO_DRIVER, NO_NVML])
def test_a_missing_gpu_is_news_only_where_there_is_one(line: str) -> None:
    assert not triton_line_matters(line, gpu=False)
    assert triton_line_matters(line, gpu=True)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), ""),
        (("", *TABLE), ""),
        (("loading", "done"), "done"),
        (("loading", ACCESS), "loading"),
        ((ACCESS,), ""),
        ((INFO, ERROR, INFO), "failed to load 'm' version 1: Internal: no such file"),
        ((TRACEBACK, DEPENDS, NOT_ALL), "failed to load 'm' version 1: Internal: ValueError: bad engine.json"),
        ((ODD, NOT_ALL), '"the repository is odd"'),
        ((ERROR, INFO, NOT_CREATED, "At:", "  model.py(1)"), NOT_CREATED.removeprefix("error: ")),
        ((BIND, INFO), 'failed to start GRPC service: Unavailable - already in use "'),
        ((GATEWAY_ERROR, GATEWAY_INFO), "[Errno 98] address already in use"),
        ((LOADER,), LOADER.removeprefix("tritonserver: ")),
        (("Traceback (most recent call last):", "ValueError: bad port", ""), "ValueError: bad port"),
    ],
)
def test_the_last_words_are_the_most_telling_line(lines: tuple[str, ...], words: str) -> None:
    assert last_words(lines) == words


def test_lines_survive_any_split_bad_bytes_and_endless_lines() -> None:
    async def read(*chunks: bytes) -> list[str]:
        stream = asyncio.StreamReader()
        for chunk in chunks:
            stream.feed_data(chunk)
        stream.feed_eof()
        return [line async for line in read_lines(stream)]

    assert asyncio.run(read(b"one\r\ntw", b"o\n\xff three")) == ["one", "two", "� three"]
    pieces = asyncio.run(read(b"x" * 5 * MAX_LINE_BYTES + b"\nend\n"))
    assert "".join(pieces) == "x" * 5 * MAX_LINE_BYTES + "end"
    assert max(map(len, pieces)) <= 2 * MAX_LINE_BYTES


def written(line: str, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, color_system="standard" if terminal else None, width=20)
    Journal(console)("triton", line)
    return file.getvalue()


def test_a_line_has_its_source_in_front_and_is_never_folded_or_read_as_markup() -> None:
    line = "[bold]x[/bold] and a line that is wider than the console, by far"
    assert written(line, terminal=False) == f" triton │ {line}\n"


def test_colours_are_for_terminals_and_a_server_cannot_steer_one() -> None:
    assert "\x1b[36m triton │ " in written("up", terminal=True)
    assert written("\x1b[2Jgone\x07", terminal=False) == " triton │ �[2Jgone�\n"


def test_the_reason_of_each_engine_that_is_not_loaded_is_its_own() -> None:
    lines = ["I1121 1 x.cc:1] loading", ERROR.replace("'m'", "'a_preprocess'"), ERROR.replace("'m'", "'ab'")]
    assert why_not_loaded("a", lines) == "Internal: no such file"
    assert why_not_loaded("b", lines) == "Triton could not load it"
