"""Many large requests at once: each process holds a bounded number of bytes, and answers the rest at once."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from gateway.answers.byte_budget import ByteBudget
from tests.gateway.bodies import CHAT, COMPLETIONS, chat, completion, post, refusal
from tests.gateway.http.raw_client import connect, received_until
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import EngineUnavailable

HEAD = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
LARGE = chat(messages=[{"role": "user", "content": "x" * 700_000}])


def begin(gateway: Running) -> socket.socket:
    """A client whose body lacks its last byte."""
    client = connect(gateway)
    client.sendall(HEAD % (CHAT.encode(), len(LARGE)) + LARGE[:-1])
    return client


def test_a_body_beyond_what_all_may_have_together_is_rejected_at_once_and_the_others_go_on() -> None:
    bounds = {"max_waiting_bytes": 2**20, "max_body_bytes": 2**20}
    with serving(ScriptedBackend(), **bounds) as gateway, ExitStack() as opened:
        clients = [opened.enter_context(begin(gateway)) for _ in range(8)]
        with httpx.Client(base_url=gateway.url, headers={"host": "x"}) as other:
            assert other.get("/health/live").status_code == 200
            assert post(other, COMPLETIONS, completion()).status_code == 200  # small bodies do not count
        answers = []
        for client in clients:
            client.sendall(LARGE[-1:])
            answers.append(received_until(client, b"\r\n\r\n"))
        whole = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ")]
        rejected = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert len(whole) == 1
        assert len(rejected) == 7
        for answer in rejected:
            assert b"\r\nretry-after: " in answer
            assert b"\r\nconnection: close\r\n" in answer
        again = opened.enter_context(begin(gateway))
        again.sendall(LARGE[-1:])
        assert received_until(again, b"usage").startswith(b"HTTP/1.1 200 ")


def test_shares_of_a_budget_are_counted_until_their_block_ends() -> None:
    budget = ByteBudget(10 * 2**16)
    with budget.share() as first, budget.share() as second, budget.share() as small:
        first.set(7 * 2**16)
        with pytest.raises(EngineUnavailable):
            second.set(4 * 2**16)
        small.set(2**16)
        second.set(3 * 2**16)
        first.set(6 * 2**16)
        second.set(4 * 2**16)
    with budget.share() as alone:
        alone.set(99 * 2**16)  # one of any size
        with budget.share() as other, pytest.raises(EngineUnavailable):
            other.set(2**16 + 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_cannot_fit_never_reaches_the_engine(stream: bool) -> None:
    backend = ScriptedBackend(cards={"demo": replace(CARD, max_prompt_bytes=5000)})
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url, headers={"host": "x"}) as client:
        for prompt in ("x" * 5001, ["a", "x" * 5001], [1] * CARD.max_seq_len):
            error = refusal(post(client, COMPLETIONS, completion(prompt=prompt, stream=stream)))
            assert error["code"] == "context_length_exceeded"
            assert error["param"] == "prompt"
            assert "maximum context length is 512 tokens" in error["message"]
        assert backend.generations == []
        for prompt in ("x" * 5000, [1] * (CARD.max_seq_len - 1)):
            assert post(client, COMPLETIONS, completion(prompt=prompt, stream=stream)).status_code == 200


def test_a_card_of_an_older_build_bounds_no_text() -> None:
    with serving(ScriptedBackend()) as gateway, httpx.Client(base_url=gateway.url, headers={"host": "x"}) as client:
        assert post(client, COMPLETIONS, completion(prompt="x" * 100_000)).status_code == 200
