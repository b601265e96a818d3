"""Large prompts, many at once, over the real stack."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import httpx

from tests.conftest import Stack
from tests.gateway.bodies import CHAT, COMPLETIONS, chat, completion, post

CLIENTS = 24
TEXT = "many words " * 700_000  # 7.7 MB; the demo's context is 2,048 tokens
ASKED = (
    (COMPLETIONS, completion(prompt=TEXT, max_tokens=1)),
    (CHAT, chat(messages=[{"role": "user", "content": TEXT}], max_tokens=1)),
)


def ask(stack: Stack, number: int) -> tuple[int, str]:
    path, body = ASKED[number % len(ASKED)]
    with httpx.Client(base_url=stack.gateway) as client:
        answer = post(client, path, body)
    return answer.status_code, answer.json()["error"]["code"]


def test_large_prompts_at_once_are_rejected_one_by_one_while_the_server_answers_others(stack: Stack) -> None:
    answered = 0
    with ThreadPoolExecutor(CLIENTS) as pool, httpx.Client(base_url=stack.gateway) as other:
        asked = [pool.submit(ask, stack, number) for number in range(CLIENTS)]
        while wait(asked, timeout=0.1).not_done:
            assert other.get("/health/live").status_code == 200
            answered += 1
        assert {future.result() for future in asked} <= {
            (400, "context_length_exceeded"),
            (503, "engine_unavailable"),
        }
        assert answered
        assert post(other, COMPLETIONS, completion(max_tokens=1)).status_code == 200
