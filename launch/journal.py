"""What `conch serve` prints: the servers' log lines, each with its source, without the noise."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable

from rich.console import Console
from rich.text import Text

LogLine = Callable[[str, str], None]  # (source, line)

MAX_LINE_BYTES = 65_536
_STYLES = {"triton": "cyan", "gateway": "green", "conch": "bold magenta"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# Triton's own log line, as in `I1121 04:52:28.568011 2392 model_lifecycle.cc:472] "loading: e_pre:1"`.
_TRITON_LINE = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ +\d+ (?P<file>[\w.-]+):\d+\]")
_TABLE = re.compile(r"[+|].*[+|]$")
_OF_A_SOCKET = re.compile(r"NODELAY NOT SUPPORTED")  # a warning of its HTTP library: a Unix socket has no TCP option
_NO_GPU = re.compile(r"CUDA driver|CudaDriverHelper|pinned system memory|NVML|DCGM")


def triton_line_matters(line: str, gpu: bool, verbose: bool = False) -> bool:
    """Whether to show this line of tritonserver: warnings, errors and whatever the models print.

    Its own info lines and start-up tables are left out, and on a machine without a GPU (`gpu` is False) also its
    errors about that. A model's `pb_utils.Logger.log_info` comes from a .py file and stays.
    """
    if verbose:
        return True
    if not line.strip() or _TABLE.match(line) or _OF_A_SOCKET.search(line) or (not gpu and _NO_GPU.search(line)):
        return False
    match = _TRITON_LINE.match(line)
    return match is None or match["level"] != "I" or not match["file"].endswith(".cc")


# A line of the access log is about a request, and not about the end of the gateway.
_TELLS_NOTHING = re.compile(rf"{_TABLE.pattern}|\S+ \S+ INFO gateway\.access ")
# From the most telling kind of line to the least; the last line of a kind counts. Of a model that fails Triton says why
# when it happens; what it logs later is only that an ensemble lacks it, and that not all models were loaded.
_TELLING = (
    re.compile(r"error while loading shared libraries: .*"),
    re.compile(r"creating server: (?!Internal - failed to load all models).*"),
    re.compile(r"failed to start .* service.*"),
    re.compile(r"failed to load '[^']+' version \d+: .*?(?=\\n|\"?$)"),
    re.compile(r"^E\d{4} .*?\] (?P<said>.*)"),
    re.compile(r"^\S+ \S+ ERROR \S+ (?P<said>.*)"),  # of the gateway
    re.compile(r"^(\w+\.)*\w*(Error|Exception): .*"),
    re.compile(r"\S.*"),
)


def last_words(lines: Iterable[str]) -> str:
    """The line that best tells why a server ended, or an empty string."""
    newest_first = [line.strip() for line in lines if not _TELLS_NOTHING.match(line.strip())][::-1]
    for pattern in _TELLING:
        for line in newest_first:
            if match := pattern.search(line):
                return match.groupdict().get("said") or match[0]
    return ""


# Of a model that is not loaded; the first of an engine's tells why, the others only that it lacks that one.
_NOT_LOADED = (
    re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?P<why>.*?)(?=\\n|\"?$)"),
    re.compile(r"failed to load '(?P<model>[^']+)': (?P<why>.*?)(?=\\n|\"?$)"),
    re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.*?)(?=\\n|\"?$)"),
)


def why_not_loaded(engine: str, lines: Iterable[str]) -> str:
    """Triton's own reason why it has not loaded an engine, as the lines of its log say it."""
    for line in lines:
        for pattern in _NOT_LOADED:
            match = pattern.search(line)
            if match and (match["model"] == engine or match["model"].startswith(f"{engine}_")):
                return match["why"]
    return "Triton could not load it"


async def read_lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of a process's output; one beyond MAX_LINE_BYTES comes in pieces, so that memory stays bounded."""
    pending = b""
    while chunk := await stream.read(MAX_LINE_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        if len(pending) > MAX_LINE_BYTES:
            lines.append(pending)
            pending = b""
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    if pending:
        yield pending.decode(errors="replace")


def printable(text: str) -> str:
    """`text` without the control characters with which it could steer a terminal; tabs and newlines stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class Journal:
    """Writes `source │ line` to a console, in colours where it is a terminal.

    Only the source is rendered by rich, once: a whole line takes it 50 µs, and the gateway logs one for each request.
    """

    def __init__(self, console: Console) -> None:
        self._file = console.file
        self._console = Console(
            file=io.StringIO(),
            force_terminal=console.is_terminal,
            color_system=console.color_system,  # type: ignore[arg-type]  # its own, as text
        )
        self._rendered: dict[str, str] = {}

    def __call__(self, source: str, line: str) -> None:
        self._file.write(f"{self._prefix(source)}{printable(line)}\n")
        self._file.flush()

    def _prefix(self, source: str) -> str:
        if source not in self._rendered:
            with self._console.capture() as rendered:
                self._console.print(Text(f"{source:>7} │ ", style=_STYLES.get(source, "")), end="", highlight=False)
            self._rendered[source] = rendered.get()
        return self._rendered[source]
