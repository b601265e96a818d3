"""Conversations by OpenAI's own client: their items, the responses that are made from them, and whose they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import ResponseInputItemParam

from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import EngineFailed

HI: ResponseInputItemParam = {"role": "user", "content": "Hi"}
SCRIPT = (delta("Hello"), delta(" world", "stop", 2))
KEYS = {"ann": "sk-a", "bob": "sk-b"}


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend(SCRIPT, cards={"demo": replace(CARD, tool_parser="hermes")})


@pytest.fixture
def script(backend: ScriptedBackend) -> Iterator[ScriptedBackend]:
    yield backend
    backend.script = SCRIPT


def texts(client: openai.OpenAI, id: str, **query: Any) -> list[str]:
    items = client.conversations.items.list(id, **{"order": "asc", **query})
    return [item.content[0].text for item in items if item.type == "message"]  # type: ignore[union-attr]


def told(backend: ScriptedBackend) -> list[tuple[str, str]]:
    messages = json.loads(backend.generations[-1].prompt.json)["messages"]  # type: ignore[union-attr]
    return [(message["role"], message["content"]) for message in messages]


def test_what_is_to_be_included_of_items_is_known(client: openai.OpenAI) -> None:
    items, none = client.conversations.items, ["message.none"]
    id = client.conversations.create().id
    [item] = items.create(id, items=[HI], include=["message.output_text.logprobs"]).data
    kept = client.responses.create(model="demo", input="Hi", conversation=id).id
    wrong: list[Callable[[Any], Any]] = [
        lambda include: items.create(id, items=[HI], include=include),
        lambda include: items.list(id, include=include),
        lambda include: items.retrieve(item.id or "", conversation_id=id, include=include),
        lambda include: client.responses.retrieve(kept, include=include),
        lambda include: client.responses.input_items.list(kept, include=include),
    ]
    for ask in wrong:
        with pytest.raises(openai.BadRequestError, match=r"include: has message.none; must have only code_") as raised:
            ask(none)
        assert raised.value.param == "include"
    assert len(texts(client, id, include=["reasoning.encrypted_content", "web_search_call.results"])) == 3


def test_a_conversation_is_made_changed_and_deleted(client: openai.OpenAI) -> None:
    made = client.conversations.create(metadata={"topic": "a"}, items=[HI])
    assert (made.object, made.metadata) == ("conversation", {"topic": "a"})
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"topic": "b"}).metadata == {"topic": "b"}
    assert client.conversations.retrieve(made.id).metadata == {"topic": "b"}
    gone = client.conversations.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "conversation.deleted", True)
    for ask in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError) as failed:
            ask(made.id)
        assert failed.value.code == "conversation_not_found"


def test_items_are_added_listed_page_by_page_looked_up_and_deleted(client: openai.OpenAI) -> None:
    id = client.conversations.create().id
    added = client.conversations.items.create(id, items=[{"role": "user", "content": text} for text in "abc"])
    ids = [str(item.id) for item in added.data]
    assert (added.object, added.first_id, added.last_id, added.has_more) == ("list", ids[0], ids[2], False)
    client.conversations.items.create(id, items=[{"role": "assistant", "content": "d"}])
    assert texts(client, id) == ["a", "b", "c", "d"]
    assert texts(client, id, order="desc", limit=2) == ["d", "c", "b", "a"]  # the client asks for the second page
    assert texts(client, id, after=ids[1]) == ["c", "d"]
    assert client.conversations.items.retrieve(ids[1], conversation_id=id) == added.data[1]
    assert client.conversations.items.delete(ids[1], conversation_id=id).id == id
    assert texts(client, id) == ["a", "c", "d"]
    for ask in (client.conversations.items.retrieve, client.conversations.items.delete):
        with pytest.raises(openai.NotFoundError) as failed:
            ask(ids[1], conversation_id=id)
        assert failed.value.code == "item_not_found"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [False, True])
def test_a_response_goes_on_with_its_conversation_and_is_added_to_it(
    client: openai.OpenAI, backend: ScriptedBackend, *, stream: bool, store: bool
) -> None:
    id = client.conversations.create(items=[{"role": "system", "content": "Be brief."}]).id
    for asked in (id, {"id": id}):
        options: Any = {"model": "demo", "input": "Hi", "conversation": asked, "store": store}
        if stream:
            with client.responses.stream(**options) as events:
                response: Any = events.get_final_response()
        else:
            response = client.responses.create(**options)
        assert response.conversation.id == id
    assert told(backend) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello world"), ("user", "Hi")]
    assert texts(client, id) == ["Be brief.", "Hi", "Hello world", "Hi", "Hello world"]


def test_calls_and_their_outputs_stay_together_in_a_conversation(
    client: openai.OpenAI, script: ScriptedBackend
) -> None:
    id = client.conversations.create().id
    script.script = (delta('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', "stop", 5),)
    tools: Any = [{"type": "function", "name": "now", "parameters": None, "strict": False}]
    [call] = client.responses.create(model="demo", input="When?", conversation=id, tools=tools).output
    assert call.type == "function_call"
    script.script = SCRIPT
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "noon"}
    client.responses.create(model="demo", input=[output], conversation=id, tools=tools)
    kinds = [item.type for item in client.conversations.items.list(id, order="asc")]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


def test_an_answer_that_was_cut_off_is_added_and_one_that_failed_is_not(
    client: openai.OpenAI, script: ScriptedBackend
) -> None:
    id = client.conversations.create().id
    script.script = (delta("Hello"), EngineFailed("it broke"))
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="demo", input="Hi", conversation=id)
    with client.responses.create(model="demo", input="Hi", conversation=id, stream=True) as events:
        assert [event.type for event in events][-1] == "response.failed"
    assert texts(client, id) == []
    script.script = (delta("Hello", "length", 2),)
    client.responses.create(model="demo", input="Hi", conversation=id)
    assert texts(client, id) == ["Hi", "Hello"]


def test_a_response_in_the_background_is_added_at_its_end_unless_it_is_cancelled(
    client: openai.OpenAI, script: ScriptedBackend
) -> None:
    id = client.conversations.create().id
    script.script = (delta("Hello"), HANG)
    cancelled = client.responses.create(model="demo", input="Hi", conversation=id, background=True)
    assert client.responses.cancel(cancelled.id).status == "cancelled"
    script.script = SCRIPT
    with client.responses.create(model="demo", input="Ho", conversation=id, background=True, stream=True) as events:
        assert [event.type for event in events][-1] == "response.completed"
    assert texts(client, id) == ["Ho", "Hello world"]


def test_what_goes_on_from_a_response_of_a_conversation_has_all_that_it_had(
    client: openai.OpenAI, backend: ScriptedBackend
) -> None:
    id = client.conversations.create(items=[{"role": "user", "content": "a"}]).id
    first = client.responses.create(model="demo", input="b", conversation=id)
    client.responses.create(model="demo", input="elsewhere", conversation=id)
    second = client.responses.create(model="demo", input="c", previous_response_id=first.id)
    assert [text for _, text in told(backend)] == ["a", "b", "Hello world", "c"]
    listed = [item.to_dict() for item in client.responses.input_items.list(second.id, order="asc")]
    assert [item["content"][0]["text"] for item in listed] == ["a", "b", "Hello world", "c"]  # type: ignore[index]
    client.conversations.delete(id)
    with pytest.raises(openai.BadRequestError) as failed:
        client.responses.create(model="demo", input="d", previous_response_id=second.id)
    assert failed.value.code == "previous_response_not_found"


def test_what_was_made_from_a_conversation_has_nothing_that_was_added_to_it_later(
    client: openai.OpenAI, backend: ScriptedBackend
) -> None:
    two: list[ResponseInputItemParam] = [{"role": "user", "content": text} for text in ("one", "two")]
    id = client.conversations.create(items=two).id
    made = client.responses.create(model="demo", input="three", conversation=id)
    for item in [*client.conversations.items.list(id, order="desc")][:-1]:
        client.conversations.items.delete(item.id or "", conversation_id=id)
    client.conversations.items.create(id, items=[{"role": "user", "content": "later"}])
    assert texts(client, id) == ["one", "later"]
    client.responses.create(model="demo", input="four", previous_response_id=made.id)
    assert [text for _, text in told(backend)] == ["one", "three", "Hello world", "four"]


def test_the_items_of_a_conversation_may_be_referred_to(client: openai.OpenAI, backend: ScriptedBackend) -> None:
    first = client.conversations.create(items=[HI])
    [item] = client.conversations.items.list(first.id)
    reference: Any = {"type": "item_reference", "id": item.id}
    client.responses.create(model="demo", input=[reference])
    assert told(backend) == [("user", "Hi")]
    other = client.conversations.create(items=[reference])
    assert texts(client, other.id) == ["Hi"]


def bad_requests(id: str, item: str) -> list[tuple[str, dict[str, Any], str | None]]:
    """Bodies, and the parameter that each error names."""
    conversations, responses = "/v1/conversations", "/v1/responses"
    asked = {"model": "demo", "input": "Hi"}
    again = {"id": item, "role": "user", "content": "Hi"}
    return [
        (conversations, {"items": [HI] * 21}, "items"),
        (conversations, {"items": "Hi"}, "items"),
        (conversations, {"items": [again] * 2}, "items"),
        (conversations, {"metadata": {str(key): "x" for key in range(17)}}, "metadata"),
        (conversations, {"metadata": {"x": 1}}, "metadata"),
        (f"{conversations}/{id}", {}, "metadata"),
        (f"{conversations}/{id}/items", {"items": []}, "items"),
        (f"{conversations}/{id}/items", {"items": [again]}, "items"),
        (f"{conversations}/{id}/items", {"items": [{"id": "msg_none"}]}, "items"),
        (responses, {**asked, "conversation": id, "previous_response_id": "resp_1"}, None),
        (responses, {**asked, "conversation": 1}, "conversation"),
        (responses, {**asked, "input": [again], "conversation": id}, "input"),
    ]


def test_what_no_conversation_can_do_is_rejected_by_name(client: openai.OpenAI, gateway: Running) -> None:
    id = client.conversations.create(items=[HI]).id
    [item] = client.conversations.items.list(id)
    with httpx.Client(base_url=gateway.url) as plain:
        for path, body, param in bad_requests(id, item.id or ""):
            answer = plain.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
        empty = plain.post("/v1/responses", json={"model": "demo", "conversation": plain_conversation(plain)})
        assert (empty.status_code, empty.json()["error"]["param"]) == (400, "input")
        none = plain.post("/v1/responses", json={"model": "demo", "input": "Hi", "conversation": "conv_none"})
        assert (none.status_code, none.json()["error"]["param"]) == (404, "conversation")
        queries: list[dict[str, Any]] = [{"limit": 0}, {"order": "up"}, {"after": "msg_none"}]
        for query in queries:
            page = plain.get(f"/v1/conversations/{id}/items", params=query)
            assert (page.status_code, page.json()["error"]["param"]) == (400, next(iter(query)))


def plain_conversation(client: httpx.Client) -> str:
    id: str = client.post("/v1/conversations", json={}).json()["id"]
    return id


def test_a_conversation_is_its_owners_alone_and_outlives_the_server(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    lines = [f"{name} {hashlib.sha256(key.encode()).hexdigest()}" for name, key in KEYS.items()]
    keys.write_text("\n".join(lines), encoding="utf-8")
    settings: dict[str, Any] = {"api_keys_file": keys, "store": tmp_path / "store.sqlite"}
    with serving(ScriptedBackend(SCRIPT), **settings) as gateway:
        ann, bob = (openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) for key in KEYS.values())
        with ann, bob:
            id = ann.conversations.create(items=[HI]).id
            [item] = ann.conversations.items.list(id)
            asks: list[Any] = [
                lambda: bob.conversations.retrieve(id),
                lambda: bob.conversations.update(id, metadata={}),
                lambda: bob.conversations.delete(id),
                lambda: bob.conversations.items.list(id),
                lambda: bob.conversations.items.create(id, items=[HI]),
                lambda: bob.conversations.items.retrieve(item.id or "", conversation_id=id),
                lambda: bob.conversations.items.delete(item.id or "", conversation_id=id),
                lambda: bob.responses.create(model="demo", input="Hi", conversation=id),
            ]
            for ask in asks:
                with pytest.raises(openai.NotFoundError):
                    ask()
    with (
        serving(ScriptedBackend(SCRIPT), **settings) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS["ann"], max_retries=0) as ann,
    ):
        assert texts(ann, id) == ["Hi"]
