"""The responses that are kept: to get, follow, cancel and delete them, and the items that they were made from."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi import Response as HttpResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway.answers.request import told
from gateway.dialects.responses.create import CreateResponse
from gateway.dialects.responses.resource import InputItemList, InputTokenCount, Response, ResponseDeleted
from gateway.endpoints.answering import parsed
from gateway.endpoints.list_page import ListPage
from gateway.endpoints.responses.background import follow
from gateway.endpoints.responses.query import (
    INCLUDE,
    PAGING,
    Routes,
    check_include,
    described_body,
    described_query,
    flag,
    number,
    page_of,
)
from gateway.http.auth import caller_of
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.event_stream import EventStream, described_events
from gateway.http.request_id import REQUEST_ID
from gateway.state import Gateway, GatewayDep, owner_of
from gateway.store.files import Page
from gateway.store.response_rows import Json
from triton_repo.contract.errors import InvalidRequest, RequestError

_EVENT: Final = {"$ref": "#/components/schemas/ResponseEvent"}
_EVENTS: Final = {"text/event-stream": {"schema": described_events(_EVENT, end="[DONE]")}}
_FOLLOWING: Final = described_query(
    include=INCLUDE, stream={"type": "boolean"}, starting_after={"type": "integer", "minimum": 0}
)


class ResponseNotFound(InvalidRequest):
    status = 404
    code = "response_not_found"


def add_responses(app: FastAPI) -> None:
    routes = Routes(app, "responses")
    path = "/v1/responses/{response}"
    routes.add("GET", path, get_response, {"model": Response, "content": _EVENTS}, _FOLLOWING)
    routes.add("DELETE", path, delete_response, ResponseDeleted)
    routes.add("POST", path + "/cancel", cancel_response, Response)
    routes.add("GET", path + "/input_items", list_input_items, InputItemList, PAGING)
    routes.add("POST", "/v1/responses/input_tokens", count_tokens, InputTokenCount, described_body(CreateResponse.body))


async def count_tokens(request: Request, gateway: GatewayDep) -> InputTokenCount:
    """How many tokens the prompt of a response would have, with all that it goes on from; no engine is asked."""
    scope, settings = request.scope, gateway.settings
    caller = caller_of(scope)
    quota = gateway.quotas.of(caller.name, caller.limits)
    quota.take_request()
    with quota:
        fields = await read_object(
            scope, request.receive, settings.max_body_bytes, settings.body_timeout_s, gateway.bodies
        )
        call = await parsed(gateway, CreateResponse(), fields, caller, scope[REQUEST_ID])
        try:
            model, effort = call.request.model, call.request.effort
            prompt = told(call.request.prompts[0], await gateway.backend.card(model), effort, model)
            ids = await gateway.backend.tokenize(model, prompt)
        except RequestError as error:
            raise call.named_as_sent(error) from None
    return {"object": "response.input_tokens", "input_tokens": len(ids)}


async def get_response(response: str, request: Request, gateway: GatewayDep) -> Any:
    """The response; with `stream=true` its events, from `starting_after` on, if it has them."""
    check_include(request)
    found = await _find(response, request, gateway)
    if not flag(request, "stream"):
        return found
    after = number(request, "starting_after", -1)
    if not await gateway.responses.has_events(response):
        raise InvalidRequest("stream: only a response that was made with background and stream has events", "stream")
    return _Following(gateway, owner_of(request), response, after)


async def delete_response(response: str, request: Request, gateway: GatewayDep) -> ResponseDeleted:
    if not await gateway.responses.delete(owner_of(request), response):
        raise _not_found(response)
    gateway.work.cancel(response)
    return {"id": response, "object": "response", "deleted": True}


async def cancel_response(response: str, request: Request, gateway: GatewayDep) -> Json:
    """The response, which is as it was if it had ended already."""
    if not (await _find(response, request, gateway))["background"]:
        raise InvalidRequest("only a response that was made with background can be cancelled", "background")
    await gateway.responses.cancel(owner_of(request), response)
    gateway.work.cancel(response)
    return await _find(response, request, gateway)


async def list_input_items(response: str, request: Request, gateway: GatewayDep) -> InputItemList:
    """A page of the items that a response was made from, those of the responses that it goes on from included."""
    try:
        items = await gateway.responses.input(owner_of(request), response, gateway.settings.max_body_bytes)
    except OverflowError:
        raise InvalidRequest(f"the conversation is larger than {gateway.settings.max_body_bytes} bytes") from None
    if items is None:
        raise _not_found(response)
    page = page_of(request)
    return _page(items[::-1] if page.newest_first else items, page)


def _page(items: list[Json], page: Page) -> InputItemList:
    ids, after = [item["id"] for item in items], page.after
    if after is not None and after not in ids:
        raise InvalidRequest(f"after = {after[:80]!r}: must be the id of an item in the list", "after")
    first = 0 if after is None else ids.index(after) + 1
    return cast("InputItemList", ListPage[Json].of(items[first:], page.limit, itemgetter("id")).model_dump())


class _Following(HttpResponse):
    """The events of a response, for as long as its client is there."""

    def __init__(self, gateway: Gateway, owner: str, id: str, after: int) -> None:
        super().__init__()
        self._followed = (gateway, owner, id, after)

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        gateway = self._followed[0]
        try:
            async with UnlessDisconnected(receive):
                await follow(*self._followed, lambda: EventStream(send, {}, gateway.heartbeat))
        except ClientDisconnect:
            pass  # there is no client left to answer


async def _find(id: str, request: Request, gateway: Gateway) -> Json:
    found = await gateway.responses.get(owner_of(request), id)
    if found is None:
        raise _not_found(id)
    return found


def _not_found(id: str) -> ResponseNotFound:
    return ResponseNotFound(f"response {id[:80]!r} does not exist, or is not kept any more")
