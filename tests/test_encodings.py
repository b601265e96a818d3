"""Text is read and written as UTF-8 everywhere: Triton runs its models' Python in the C locale, whatever is set."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from tests.layout import FOLDERS, ROOT
from tests.syntax import parsed

_TEXT: Final = {"text", "universal_newlines"}  # of a process: its output is text
_PROCESSES: Final = {"run", "Popen", "check_output", "check_call", "call"}
_OTHERS: Final = {"os", "self", "span", "tarfile", "webbrowser"}  # whose `open` opens no file of text
_FILES: Final = {"read_text", "write_text"}


def calls_without_encoding(source: str) -> Iterator[int]:
    """Lines of calls that read or write text in the encoding of the locale."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call):
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            runs = name in _PROCESSES and bool(given & _TEXT)
            if (name in _FILES or runs or _opens_text(name, owner, node.args)) and "encoding" not in given:
                yield node.lineno


def _opens_text(name: str, owner: ast.expr | None, arguments: Sequence[ast.expr]) -> bool:
    """Whether it is `open(file, mode)` or `path.open(mode)`, in a mode that is not binary."""
    if name == "fdopen" or (name == "open" and owner is None):
        mode = arguments[1:2]
    elif name == "open" and getattr(owner, "id", "") not in _OTHERS:
        mode = arguments[:1]
    else:
        return False
    return not mode or (isinstance(mode[0], ast.Constant) and "b" not in str(mode[0].value))


def test_the_check_finds_what_depends_on_the_locale() -> None:
    found = [
        'open("a")', 'open("a", "w")', "path.open()", 'path.open("a+")', "path.read_text()", 'path.write_text("x")',
        "run([], text=True)", 'os.fdopen(1, "w")',
    ]  # fmt: skip
    right = [
        'open("a", "rb")', 'path.open("wb")', 'path.read_text(encoding="utf-8")', "run([])", 'os.open("a", 0)',
        'run([], encoding="utf-8")', 'open("a", encoding="utf-8")', "path.read_bytes()", "channels.open(channel, sink)",
    ]  # fmt: skip
    assert [call for call in found if not [*calls_without_encoding(call)]] == []
    assert [call for call in right if [*calls_without_encoding(call)]] == []


@pytest.mark.parametrize("folder", [*FOLDERS, "docker"])
def test_no_text_depends_on_the_locale(folder: str) -> None:
    files = [path for path in sorted((ROOT / folder).rglob("*.py")) if "built" not in path.parts]
    calls = {path: [*calls_without_encoding(path.read_text(encoding="utf-8"))] for path in files}
    assert {str(path.relative_to(ROOT)): lines for path, lines in calls.items() if lines} == {}
