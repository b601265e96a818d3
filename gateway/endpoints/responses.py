"""The responses that are kept: to get, follow, cancel and delete them, and the items that they were made from."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi import Response as HttpResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway.answers.request import told
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.responses.create import CreateResponse
from gateway.dialects.responses.resource import InputItemList, InputTokenCount, Response, ResponseDeleted
from gateway.endpoints.answering import parsed
from gateway.endpoints.background import follow
from gateway.endpoints.list_page import ListPage
from gateway.http.auth import caller_of
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import described
from gateway.http.event_stream import EventStream, described_events
from gateway.http.request_id import REQUEST_ID
from gateway.state import Gateway, GatewayDep
from gateway.store.response_rows import Json
from triton_repo.contract.errors import InvalidRequest, RequestError

MAX_LIMIT: Final = 100

_DEFAULT_LIMIT: Final = 20
_EVENT: Final = {"$ref": "#/components/schemas/ResponseEvent"}
_EVENTS: Final = {"text/event-stream": {"schema": described_events(_EVENT, end="[DONE]")}}
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


def _query(**schemas: Json) -> Json:
    """The description of a query: each parameter is read, and its errors are told, by `_flag`, `_number` and so on."""
    return {"parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]}


_FOLLOWING: Final = _query(stream={"type": "boolean"}, starting_after={"type": "integer", "minimum": 0})
_PAGING: Final = _query(
    limit={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": _DEFAULT_LIMIT},
    order={"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    after={"type": "string"},
)


class ResponseNotFound(InvalidRequest):
    status = 404
    code = "response_not_found"


def add_responses(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    path = "/v1/responses/{response}"
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{CreateResponse.body.__name__}"}}}
    of_create = {"requestBody": {"required": True, "content": body}}

    def add(method: str, path: str, endpoint: Callable[..., Any], answer: Json, extra: Json | None = None) -> None:
        """What was kept is sent as it is: `answer` describes it, and nothing is validated."""
        responses: dict[int | str, Json] = {200: answer, **errors}
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            tags=["responses"],
            response_model=None,
            responses=responses,
            openapi_extra=extra,
        )

    add("GET", path, get_response, {"model": Response, "content": _EVENTS}, _FOLLOWING)
    add("DELETE", path, delete_response, {"model": ResponseDeleted})
    add("POST", path + "/cancel", cancel_response, {"model": Response})
    add("GET", path + "/input_items", list_input_items, {"model": InputItemList}, _PAGING)
    add("POST", "/v1/responses/input_tokens", count_tokens, {"model": InputTokenCount}, of_create)


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
    found = await _find(response, request, gateway)
    if not _flag(request, "stream"):
        return found
    after = _number(request, "starting_after", -1)
    if not await gateway.responses.has_events(response):
        raise InvalidRequest("stream: only a response that was made with background and stream has events", "stream")
    return _Following(gateway, _owner(request), response, after)


async def delete_response(response: str, request: Request, gateway: GatewayDep) -> ResponseDeleted:
    if not await gateway.responses.delete(_owner(request), response):
        raise _not_found(response)
    gateway.work.cancel(response)
    return {"id": response, "object": "response", "deleted": True}


async def cancel_response(response: str, request: Request, gateway: GatewayDep) -> Json:
    """The response, which is as it was if it had ended already."""
    if not (await _find(response, request, gateway))["background"]:
        raise InvalidRequest("only a response that was made with background can be cancelled", "background")
    await gateway.responses.cancel(_owner(request), response)
    gateway.work.cancel(response)
    return await _find(response, request, gateway)


async def list_input_items(response: str, request: Request, gateway: GatewayDep) -> InputItemList:
    """A page of the items that a response was made from, those of the responses that it goes on from included."""
    try:
        items = await gateway.responses.input(_owner(request), response, gateway.settings.max_body_bytes)
    except OverflowError:
        raise InvalidRequest(f"the conversation is larger than {gateway.settings.max_body_bytes} bytes") from None
    if items is None:
        raise _not_found(response)
    order, after = request.query_params.get("order", "desc"), request.query_params.get("after")
    limit = _number(request, "limit", _DEFAULT_LIMIT)
    if order not in ("asc", "desc"):
        raise InvalidRequest(f"order = {order[:64]!r}: must be asc or desc", "order")
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit = {limit}: must be 1 to {MAX_LIMIT}", "limit")
    return _page(items if order == "asc" else items[::-1], after, limit)


def _page(items: list[Json], after: str | None, limit: int) -> InputItemList:
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise InvalidRequest(f"after = {after[:80]!r}: must be the id of an item in the list", "after")
    first = 0 if after is None else ids.index(after) + 1
    return cast("InputItemList", ListPage[Json].of(items[first:], limit, itemgetter("id")).model_dump())


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
    found = await gateway.responses.get(_owner(request), id)
    if found is None:
        raise _not_found(id)
    return found


def _not_found(id: str) -> ResponseNotFound:
    return ResponseNotFound(f"response {id[:80]!r} does not exist, or is not kept any more")


def _owner(request: Request) -> str:
    return caller_of(request.scope).name


def _flag(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "false").lower()
    if given not in ("true", "false"):
        raise InvalidRequest(f"{name} = {given[:64]!r}: must be true or false", name)
    return given == "true"


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not _NUMBER.fullmatch(given):
        raise InvalidRequest(f"{name} = {given[:64]!r}: must be a whole number", name)
    return int(given)
