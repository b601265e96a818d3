"""Every field of a request with every value that it should not have: `python -m tests.soak.inputs`.

On the real stack with the demo engine: OpenAI's two endpoints, and the ensemble through Triton's own API. Every answer
is a success or an error that names what is wrong, with a status of 4xx; sound requests get the same tokens as before;
and the largest bodies that are allowed hold up nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from gateway.dialects.openai.parameters import OTHER_NAMES, UNSUPPORTED
from gateway.dialects.openai.requests.chat import ChatCompletionRequest
from gateway.dialects.openai.requests.completion import CompletionRequest
from tests.conftest import Stack, serving
from tests.soak.client import PREFIXES, QUESTIONS, Canaries
from triton_repo.contract.steps import ENSEMBLE_INPUTS
from triton_repo.contract.tensors import SAMPLING_PARAMETERS

MESSAGE: Final = {"role": "user", "content": "Hello"}
# As JSON text: not all of it is JSON, and not all that Python could write.
VALUES: Final = (
    *("-1", "0", "1", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "1" + "0" * 400),
    *("NaN", "Infinity", "1e999", "-0.5", "1e-300", '"1"', '""', "true", "false", "null", "[]", "{}", "[[]]", "[null]"),
    *(r'"\ud800"', r'"\u0000"', r'"\r\n\u2028"', '"' + "x" * 2**20 + '"', "[" * 2000 + "]" * 2000, "1" * 5000),
)
_CHAT, _COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_OURS: Final = ("conch:", "could not be", "Traceback")  # words of an error of a model
_PART = {"type": "text", "text": "x" * 1500}
_CALL = {"function": {"name": "f", "arguments": "{}"}}
MAX_HELD_UP_MS: Final = 500.0  # many times what is usual, for a busy machine
# Bodies that are as large as they may be, in one respect each.
LARGE: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "parts": (_CHAT, {"messages": [{"role": "user", "content": [_PART] * 4096}]}),
    "messages": (_CHAT, {"messages": [{"role": "user", "content": "x" * 1500}] * 4096}),
    "tool calls": (_CHAT, {"messages": [{"role": "assistant", "content": "x", "tool_calls": [_CALL]}] * 4096}),
    "parts of messages": (
        _CHAT,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 55}] * 4000},
    ),
    "unknown keys": (_COMPLETIONS, {"prompt": "x", **{f"unknown{number}": 0 for number in range(200_000)}}),
    "logit_bias": (_COMPLETIONS, {"prompt": "x", "logit_bias": {str(number): 0 for number in range(400_000)}}),
    "ids": (_COMPLETIONS, {"prompt": [100_000] * 10**6}),
    "lists": (_COMPLETIONS, {"prompt": "x", "junk": [[]] * 2_600_000}),
    "numbers": (_COMPLETIONS, {"prompt": "x", "junk": [0] * 2_600_000}),
    "text": (_COMPLETIONS, {"prompt": "x" * 8_000_000}),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.inputs", description=__doc__)
    parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory, serving("demo", log=Path(directory) / "serve.log") as stack:
        return asyncio.run(_run(stack))


async def _run(stack: Stack) -> int:
    canaries = Canaries(stack.gateway)
    await canaries.record()
    faults: Counter[str] = Counter()
    async with httpx.AsyncClient(timeout=300) as client:
        for name, cases in {"HTTP": _http(stack), "Triton": _triton(stack)}.items():
            statuses: Counter[int] = Counter()
            for number, (case, url, body) in enumerate(cases):
                response = await client.post(url, content=body, headers={"content-type": "application/json"})
                statuses[response.status_code] += 1
                if (fault := _fault(response, openai=name == "HTTP")) is not None:
                    faults[f"{name}: {case}: {fault}"] += 1
                if number % 25 == 0 and (fault := await canaries.differs(PREFIXES[0], QUESTIONS[0])) is not None:
                    faults[f"{name}: a sound request after {case}: {fault}"] += 1
            print(f"{name}: {sum(statuses.values())} requests, statuses {dict(sorted(statuses.items()))}", flush=True)
        for case, (path, fields) in LARGE.items():
            large = json.dumps({"model": "demo", "max_tokens": 1, **fields})
            response, slowest_ms, before_ms = await _held_up(client, stack, path, large)
            size = f"{len(large) / 1e6:4.1f} MB"
            took = f"slowest health check {slowest_ms:4.0f} ms, before {before_ms:.0f} ms"
            print(f"{case:18} {size}: {response.status_code}; {took}", flush=True)
            if (fault := _fault(response, openai=True)) is not None:
                faults[f"{case}: {fault}"] += 1
            if slowest_ms > MAX_HELD_UP_MS:
                faults[f"{case}: a health check took {slowest_ms:.0f} ms"] += 1
    for fault, count in faults.most_common(30):
        print(f"FAULT {count} × {fault}")
    return 1 if faults else 0


def _http(stack: Stack) -> Iterator[tuple[str, str, bytes]]:
    chat: dict[str, Any] = {"model": "demo", "messages": [MESSAGE], "max_tokens": 2}
    completion: dict[str, Any] = {"model": "demo", "prompt": "Hello", "max_tokens": 2}
    others = [*UNSUPPORTED, *OTHER_NAMES]
    for path, model, sound in ((_CHAT, ChatCompletionRequest, chat), (_COMPLETIONS, CompletionRequest, completion)):
        for field in [*model.model_fields, *others]:
            for value in VALUES:
                yield f"{path} {field} = {value[:20]}", stack.gateway + path, _with(sound, field, value)
    for field in ("role", "content", "name", "tool_calls", "tool_call_id", "refusal"):
        for value in VALUES:
            message = _with({"role": "assistant" if field == "tool_calls" else "user", "content": "x"}, field, value)
            body = _with(chat, "messages", f"[{message.decode()}]")
            yield f"messages.0.{field} = {value[:20]}", stack.gateway + _CHAT, body


def _triton(stack: Stack) -> Iterator[tuple[str, str, bytes]]:
    sound: dict[str, Any] = {"text_input": "Hello", "max_tokens": 2, "temperature": 0}
    url = f"{stack.triton_http}/v2/models/demo/generate_stream"
    for field in [*(tensor.name for tensor in ENSEMBLE_INPUTS), *SAMPLING_PARAMETERS, "add_special_tokens", "channel"]:
        for value in VALUES:
            yield f"{field} = {value[:20]}", url, _with(sound, field, value)


def _with(sound: dict[str, Any], field: str, value: str) -> bytes:
    rest = {name: given for name, given in sound.items() if name != field}
    return f"{json.dumps(rest)[:-1]}{', ' if rest else ''}{json.dumps(field)}: {value}}}".encode()


def _fault(response: httpx.Response, *, openai: bool) -> str | None:
    status = response.status_code
    if not openai and status == 500 and not any(word in response.text for word in _OURS):
        return None  # what Triton's own reader of JSON says of a value that is not of the tensor's type
    if status >= 500 or not (status == 200 or 400 <= status < 500):
        return f"{status} {response.text[:200]}"
    if status != 200 and openai:
        error = response.json().get("error", {})
        if list(error) != ["message", "type", "param", "code"] or "Traceback" in error["message"]:
            return f"{status} {response.text[:200]}"
    return None


async def _held_up(
    client: httpx.AsyncClient, stack: Stack, path: str, body: str
) -> tuple[httpx.Response, float, float]:
    """The response, the longest that a health check took meanwhile, and the longest before it, in ms."""
    before_ms = max([await _check_ms(client, stack) for _ in range(50)])
    post = client.post(stack.gateway + path, content=body, headers={"content-type": "application/json"})
    answer = asyncio.create_task(post)
    took_ms = [await _check_ms(client, stack)]
    while not answer.done():
        took_ms.append(await _check_ms(client, stack))
    return await answer, max(took_ms), before_ms


async def _check_ms(client: httpx.AsyncClient, stack: Stack) -> float:
    began_s = time.monotonic()
    await client.get(f"{stack.gateway}/health/live")
    await asyncio.sleep(0.002)
    return 1e3 * (time.monotonic() - began_s)


if __name__ == "__main__":
    sys.exit(main())
