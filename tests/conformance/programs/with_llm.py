"""`llm`, the command line of Simon Willison, with models of this server in its `extra-openai-models.yaml`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
from harness import AGENT, ANSWER, AS_JSON, CAPITAL, CHAT, expect, row

COMMAND = Path(sys.executable).with_name("llm")
FUNCTIONS = f'''
def get_weather(city: str, unit: str) -> str:
    """Get the weather of a city."""
    return "{ANSWER}"
'''
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 30}, "country": {"enum": ["France", "Germany"]}},
    "required": ["name", "country"],
}
TIMEOUT_S = 240


def llm(*arguments: str, stdin: str = "") -> str:
    with tempfile.TemporaryDirectory() as home:
        model = {"model_id": "conch", "model_name": CHAT, "api_base": harness.URL, "supports_tools": True}
        models = [{**model, "supports_schema": True}]
        Path(home, "extra-openai-models.yaml").write_text(json.dumps(models), encoding="utf-8")
        done = subprocess.run(
            [str(COMMAND), *arguments],
            env={**os.environ, "LLM_USER_PATH": home},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    expect(done.returncode == 0, done.stderr)
    return done.stdout


def ask(*arguments: str) -> str:
    return llm("prompt", "--model", "conch", "--key", harness.KEY, "--option", "temperature", "0", *arguments)


@row("chat")
def whole() -> None:
    expect("Paris" in ask("--no-stream", CAPITAL))


@row("stream")
def streamed() -> None:
    expect(ask(CAPITAL) == ask("--no-stream", CAPITAL))


@row("tools")
def tools() -> None:
    for streaming in ((), ("--no-stream",)):
        answer = ask("--functions", FUNCTIONS, AGENT, *streaming)
        expect(ANSWER in answer, answer)


@row("JSON")
def json_object() -> None:
    expect(isinstance(json.loads(ask("--option", "json_object", "1", AS_JSON)), dict))


@row("JSON schema, parsed")
def schema() -> None:
    for streaming in ((), ("--no-stream",)):
        answer = ask("--schema", json.dumps(CITY), CAPITAL, *streaming)
        expect(json.loads(answer)["country"] in {"France", "Germany"}, answer)


if __name__ == "__main__":
    harness.main("llm")
