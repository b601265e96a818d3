"""What the programs of this folder share: rows by name, what they ask for, and how they report.

A program runs in an environment that has its client and not Conch's packages. It writes one JSON object to stdout:
the client's version and, for each row, null where it holds and else what went wrong.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

ROOT = os.environ["CONCH_URL"]  # without /v1
URL = f"{ROOT}/v1"
CHAT = "smollm2"
EMBED = "minilm"
SCORED = "smollm2-scored"  # tells the logprobs of prompts
KEY = "none"

CAPITAL = "What is the capital of France?"
WEATHER = "What is the weather in Paris, in celsius?"
# A small model calls no tool by itself, but it repeats a call, and then tells what the tool answered: an agent's loop.
AGENT = (
    "Repeat these lines exactly:\n\n<tool_call>\n"
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>'
)
ANSWER = "21 degrees"
AS_JSON = "Describe Paris as JSON."
WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 40}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
FUNCTION: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": WEATHER_SCHEMA,
}
TOOL = {"type": "function", "function": FUNCTION}

Row = Callable[[], Any]
_rows: dict[str, Row] = {}


def row(name: str) -> Callable[[Row], Row]:
    """Register a check, plain or async, under the name of its row; it holds if it raises nothing."""

    def register(check: Row) -> Row:
        _rows[name] = check
        return check

    return register


def expect(holds: object, *seen: object) -> None:
    if not holds:
        raise AssertionError(f"unexpected: {seen!r}")


def expect_weather(arguments: object) -> None:
    """The arguments of a call, as JSON text or parsed, follow the schema."""
    found = json.loads(arguments) if isinstance(arguments, str) else arguments
    expect(isinstance(found, dict) and set(found) == {"city", "unit"}, arguments)
    expect(found["unit"] in {"celsius", "fahrenheit"} and isinstance(found["city"], str), arguments)


def main(package: str) -> None:
    """Run every row, or those that the command line names, and report them with the version of `package`."""
    chosen = sys.argv[1:] or list(_rows)
    report(importlib.metadata.version(package), {name: _outcome(_rows[name]) for name in chosen})


def report(version: str, rows: dict[str, str | None]) -> None:
    sys.stdout.write(json.dumps({"version": version, "rows": rows}) + "\n")


def _outcome(check: Row) -> str | None:
    import asyncio

    try:
        result = check()
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:  # noqa: BLE001  a client may raise anything, and the other rows are still run
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"[:500]
    return None
