"""The syntax trees of source files, for tests of the sources themselves."""

from __future__ import annotations

import ast
from typing import Final

_TRIES: Final = 10


def parsed(source: str) -> ast.Module:
    """As `ast.parse`, in a process with other threads.

    CPython 3.11 counts the depth of its trees once for all threads. `ast.parse` raises a SystemError if another thread
    parses meanwhile, and formatting a traceback does that: https://github.com/python/cpython/issues/106905

    Raises:
        SyntaxError: this is not Python.
    """
    for _ in range(_TRIES - 1):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)
