"""Files and batches, with OpenAI's client: what goes in, what comes out, and what is kept for whom."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Literal

import httpx
import openai
import pytest

from gateway.batches.batch import NO_USAGE, Batch, RequestCounts
from gateway.endpoints import batches
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.contract.model_card import EncoderCard, ModelCard

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"


def line(custom_id: str, body: dict[str, Any] | None = None, url: str = CHAT) -> dict[str, Any]:
    messages = [{"role": "user", "content": custom_id}]
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": url,
        "body": {"model": "demo", "messages": messages, **(body or {})},
    }


def lines(*each: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in each)


def client_of(server: Running, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=120)


def begin(client: openai.OpenAI, content: bytes, **options: Any) -> openai.types.Batch:
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    arguments: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h", **options}
    return client.batches.create(input_file_id=file.id, **arguments)


def wait(client: openai.OpenAI, batch: openai.types.Batch, *statuses: str) -> openai.types.Batch:
    ends = statuses or ("completed", "failed", "expired", "cancelled")
    deadline = time.monotonic() + 300
    while batch.status not in ends:
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def content(client: openai.OpenAI, file: str | None) -> list[dict[str, Any]]:
    assert file is not None
    return [json.loads(each) for each in client.files.content(file).text.splitlines()]


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def client(backend: ScriptedBackend) -> Iterator[openai.OpenAI]:
    with serving(backend) as server, client_of(server) as client:
        yield client


def test_every_request_is_answered_and_the_answers_have_their_order(client: openai.OpenAI) -> None:
    ids = [f"request {number}" for number in range(100)]
    batch = begin(client, lines(*map(line, ids)), metadata={"run": "nightly"})
    assert (batch.status, batch.metadata) == ("validating", {"run": "nightly"})
    batch = wait(client, batch)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 100, "completed": 100, "failed": 0}
    assert batch.usage is not None
    assert (batch.usage.input_tokens, batch.usage.output_tokens, batch.usage.total_tokens) == (300, 200, 500)
    assert batch.model == "demo"
    assert batch.error_file_id is None
    output = content(client, batch.output_file_id)
    assert [each["custom_id"] for each in output] == ids
    assert {each["response"]["status_code"] for each in output} == {200}
    assert output[0]["response"]["body"]["choices"][0]["message"]["content"] == "Hello world"
    assert batch.output_file_id is not None
    written = client.files.retrieve(batch.output_file_id)
    assert (written.purpose, written.filename) == ("batch_output", f"{batch.id}_output.jsonl")


def test_texts_are_encoded_and_responses_are_counted_in_their_own_words() -> None:
    cards = {"demo": CARD, "embed": ModelCard(512, "embed", encoder=EncoderCard("embed", 2))}
    with serving(ScriptedBackend(cards=cards)) as server, client_of(server) as client:
        texts = [
            line(name, {"model": "embed", "input": text}, "/v1/embeddings") for name, text in (("a", "x"), ("b", ""))
        ]
        batch = wait(client, begin(client, lines(*texts), endpoint="/v1/embeddings"))
        [one] = content(client, batch.output_file_id)
        assert (one["custom_id"], one["response"]["body"]["data"][0]["embedding"]) == ("a", [1.0, 1.0])
        [other] = content(client, batch.error_file_id)
        assert (other["custom_id"], other["response"]["body"]["error"]["param"]) == ("b", "input")
        assert batch.usage is not None
        assert (batch.usage.input_tokens, batch.usage.output_tokens) == (1, 0)
        response = line("c", {"input": "Hello", "messages": None}, "/v1/responses")
        batch = wait(client, begin(client, lines(response), endpoint="/v1/responses"))
        assert batch.usage is not None
        assert (batch.usage.input_tokens, batch.usage.output_tokens) == (3, 2)


def test_requests_that_are_rejected_are_in_the_error_file(client: openai.OpenAI) -> None:
    content_in = lines(line("good"), line("hot", {"temperature": 9}), line("lost", {"model": "nobody"}))
    batch = wait(client, begin(client, content_in))
    assert batch.status == "completed"
    assert [each["custom_id"] for each in content(client, batch.output_file_id)] == ["good"]
    hot, lost = content(client, batch.error_file_id)
    assert (hot["custom_id"], hot["response"]["status_code"]) == ("hot", 400)
    assert hot["response"]["body"]["error"]["param"] == "temperature"
    assert (lost["custom_id"], lost["response"]["status_code"]) == ("lost", 404)


def test_an_engine_that_fails_one_request_fails_no_other() -> None:
    with serving(ScriptedBackend([EngineFailed("it broke")])) as server, client_of(server) as client:
        batch = wait(client, begin(client, lines(line("a"), line("b"))))
        assert batch.request_counts is not None
        assert batch.request_counts.failed == 2
        assert [each["response"]["status_code"] for each in content(client, batch.error_file_id)] == [500, 500]


def test_what_finds_no_room_waits_and_is_tried_again() -> None:
    class Full(ScriptedBackend):
        attempts = 0

        async def card(self, model: str) -> Any:
            self.attempts += 1
            if self.attempts == 1:
                error = EngineUnavailable("full")
                error.retry_after_s = 0
                raise error
            return await super().card(model)

    with serving(Full()) as server, client_of(server) as client:
        batch = wait(client, begin(client, lines(line("a"))))
        assert batch.request_counts is not None
        assert batch.request_counts.completed == 1


@pytest.mark.parametrize(
    ("content_in", "codes"),
    [
        (b"", ["empty_file"]),
        (b"\n\n", ["empty_file"]),
        (b"{\n" + lines(line("a")), ["invalid_json_line"]),
        (lines(line("a"), line("a")), ["duplicate_custom_id"]),
        (lines(line("a", url="/v1/completions")), ["mismatched_endpoint"]),
        (b"x" * (9 << 20), ["line_too_long"]),
    ],
)
def test_a_file_that_is_no_list_of_requests_fails_the_batch(
    client: openai.OpenAI, content_in: bytes, codes: Sequence[str]
) -> None:
    batch = wait(client, begin(client, content_in))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == codes


def test_a_batch_that_is_cancelled_stops_the_engine_and_keeps_what_was_answered(
    client: openai.OpenAI, backend: ScriptedBackend
) -> None:
    backend.script = [delta("Hel"), HANG]
    batch = begin(client, lines(*map(line, "abcdefghijkl")))
    batch = wait(client, batch, "in_progress")
    while not backend.generations:
        time.sleep(0.01)
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = wait(client, batch)
    assert batch.status == "cancelled"
    assert {each["error"]["code"] for each in content(client, batch.error_file_id)} == {"batch_cancelled"}
    assert len(backend.cancelled) == len(backend.generations)
    with pytest.raises(openai.BadRequestError, match="cannot be cancelled"):
        client.batches.cancel(batch.id)


def test_a_batch_ends_with_its_window(
    client: openai.OpenAI, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "WINDOW_S", {"24h": 2})
    backend.script = [HANG]
    batch = wait(client, begin(client, lines(line("late"), line("hot", {"temperature": 9}))))
    assert batch.status == "expired"
    late, hot = content(client, batch.error_file_id)
    assert (late["custom_id"], late["response"], late["error"]["code"]) == ("late", None, "batch_expired")
    assert (hot["custom_id"], hot["error"]) == ("hot", None)


def test_a_batch_that_expires_keeps_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WINDOW_S", {"24h": 2})

    class OneThenHang(ScriptedBackend):
        async def generate(self, generation: Any, ended: Any = lambda: None, /) -> Any:
            self.script = [HANG] if self.generations else ScriptedBackend().script
            async for each in super().generate(generation, ended):
                yield each

    with serving(OneThenHang()) as server, client_of(server) as client:
        batch = wait(client, begin(client, lines(line("a"), line("b"))))
        assert (batch.status, batch.request_counts and batch.request_counts.to_dict()) == (
            "expired",
            {"total": 2, "completed": 1, "failed": 1},
        )
        assert batch.expired_at is not None
        assert [each["response"]["status_code"] for each in content(client, batch.output_file_id)] == [200]
        [error] = content(client, batch.error_file_id)
        assert error["error"] == {
            "code": "batch_expired",
            "message": "This request could not be executed before the completion window expired.",
        }


def test_a_batch_whose_last_answer_comes_with_the_end_of_its_window_is_complete() -> None:
    at = int(time.time())
    batch = Batch(
        id="batch_1",
        endpoint=CHAT,
        input_file_id="file-1",
        completion_window="24h",
        created_at=at - 60,
        expires_at=at,
        status="in_progress",
        request_counts=RequestCounts(total=2, completed=1),
    )
    assert batch.finalizing().ended("file-2", "file-3").status == "expired"
    ended = batch.counting(NO_USAGE, is_ok=True).finalizing().ended("file-2", None)
    assert (ended.status, ended.expired_at) == ("completed", None)


def test_a_batch_goes_on_while_clients_keep_the_queue_full() -> None:
    """Each client asks again at once, and there are more of them than may wait."""
    backend = ScriptedBackend([0.05, delta("Hello", "stop")], cards={"demo": replace(CARD, max_batch_size=1)})

    async def keep_busy(server: Running, until: Event, statuses: set[int]) -> None:
        async def ask(client: httpx.AsyncClient) -> None:
            while not until.is_set():
                body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
                statuses.add((await client.post(server.url + CHAT, json=body)).status_code)

        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client, asyncio.TaskGroup() as clients:
            for _ in range(48):
                clients.create_task(ask(client))

    statuses: set[int] = set()
    with serving(backend, queue_timeout_s=1) as server, client_of(server) as client, ThreadPoolExecutor(1) as pool:
        until = Event()
        busy = pool.submit(asyncio.run, keep_busy(server, until, statuses))
        try:
            while statuses != {200, 503}:
                time.sleep(0.01)
            batch = wait(client, begin(client, lines(line("a"))))
        finally:
            until.set()
        busy.result()
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 1


def test_a_batch_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    many = [f"{number}" for number in range(40)]

    class OneThenHang(ScriptedBackend):
        async def generate(self, generation: Any, ended: Any = lambda: None, /) -> Any:
            self.script = ScriptedBackend().script if len(self.generations) < 5 else [HANG]
            async for each in super().generate(generation, ended):
                yield each

    first = OneThenHang()
    with serving(first, store=store) as server, client_of(server) as client:
        batch = begin(client, lines(*map(line, many)))
        while (client.batches.retrieve(batch.id).request_counts or batch).completed < 5:  # type: ignore[union-attr]
            time.sleep(0.02)
    second = ScriptedBackend()
    with serving(second, store=store) as server, client_of(server) as client:
        batch = wait(client, client.batches.retrieve(batch.id))
        assert batch.status == "completed"
        assert [each["custom_id"] for each in content(client, batch.output_file_id)] == many
    assert len(second.generations) == 35


def test_what_a_key_keeps_it_alone_sees(backend: ScriptedBackend, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("alice", "bob")}
    keys.write_text("".join(f"{name} {digest}\n" for name, digest in digests.items()), encoding="utf-8")
    with (
        serving(backend, api_keys_file=keys) as server,
        client_of(server, "alice") as alice,
        client_of(server, "bob") as bob,
    ):
        batch = wait(alice, begin(alice, lines(line("a"))))
        assert batch.output_file_id is not None
        for file in (batch.input_file_id, batch.output_file_id):
            with pytest.raises(openai.NotFoundError):
                bob.files.retrieve(file)
            with pytest.raises(openai.NotFoundError):
                bob.files.content(file)
            with pytest.raises(openai.NotFoundError):
                bob.files.delete(file)
        with pytest.raises(openai.NotFoundError):
            bob.batches.retrieve(batch.id)
        with pytest.raises(openai.NotFoundError):
            bob.batches.cancel(batch.id)
        with pytest.raises(openai.NotFoundError):
            bob.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
        assert bob.files.list().data == []
        assert bob.batches.list().data == []
        assert len(alice.files.list().data) == 2


def test_lists_come_in_pages_and_the_newest_first(client: openai.OpenAI) -> None:
    made = [begin(client, lines(line("a"))).id for _ in range(5)]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]
    names = [file.filename for file in client.files.list(limit=2, order="asc", purpose="batch")]
    assert names == ["in.jsonl"] * 5


def test_a_batch_needs_a_file_for_batches_and_an_endpoint_that_answers(client: openai.OpenAI) -> None:
    other = client.files.create(file=("x", b"x"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose of the file is user_data"):
        client.batches.create(input_file_id=other.id, endpoint=CHAT, completion_window="24h")
    file = client.files.create(file=("x", b"x"), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="endpoint = '/v1/moderations': must be one of"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/moderations", completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="completion_window"):
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="7d")  # type: ignore[arg-type]


def test_only_so_many_batches_of_a_key_may_be_open(
    client: openai.OpenAI, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_OPEN", 1)
    backend.script = [HANG]
    begin(client, lines(line("a")))
    with pytest.raises(openai.BadRequestError, match="at most 1 batches of one key"):
        begin(client, lines(line("a")))


def test_lines_are_read_over_the_pieces_of_a_file(client: openai.OpenAI) -> None:
    ids = [f"{number} " + "x" * 500 for number in range(3000)]  # about 3 MB
    batch = begin(client, lines(*map(line, ids)))
    batch = wait(client, batch)
    assert batch.status == "completed"
    assert [each["custom_id"] for each in content(client, batch.output_file_id)] == ids
