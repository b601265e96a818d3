"""/v1/conversations: items that responses are made from and added to, one after the other.

A conversation is locked for none: two responses of one moment go on from the same items, and each adds its own.
"""

from __future__ import annotations

import time
from operator import itemgetter
from secrets import token_hex
from typing import Any, Final, TypeVar, cast

from fastapi import FastAPI, Request
from pydantic import BaseModel

from gateway.dialects.body import parse_body
from gateway.dialects.responses.conversation import (
    ConversationDeleted,
    ConversationResource,
    CreateConversationRequest,
    CreateItemsRequest,
    UpdateConversationRequest,
)
from gateway.dialects.responses.input import Item, as_kept, resolved
from gateway.dialects.responses.resource import ConversationItem, InputItemList
from gateway.dialects.responses.session import ConversationNotFound
from gateway.endpoints.list_page import ListPage
from gateway.endpoints.responses.query import (
    INCLUDING,
    PAGING,
    Routes,
    check_include,
    described_body,
    page_of,
)
from gateway.http.body import read_object
from gateway.state import Gateway, GatewayDep, owner_of
from gateway.store.conversations import Conversation
from gateway.store.response_rows import Json
from triton_repo.contract.errors import InvalidRequest

BODIES: Final = (CreateConversationRequest, UpdateConversationRequest, CreateItemsRequest)

Body = TypeVar("Body", bound=BaseModel)


class ConversationItemNotFound(InvalidRequest):
    status = 404
    code = "item_not_found"


def add_conversations(app: FastAPI) -> None:
    routes = Routes(app, "conversations", posts_are_counted=True)
    path = "/v1/conversations/{conversation}"
    items = path + "/items"
    item = items + "/{item}"
    of_create, of_update, of_items = map(described_body, BODIES)
    routes.add("POST", "/v1/conversations", create_conversation, ConversationResource, of_create)
    routes.add("GET", path, get_conversation, ConversationResource)
    routes.add("POST", path, update_conversation, ConversationResource, of_update)
    routes.add("DELETE", path, delete_conversation, ConversationDeleted)
    routes.add("POST", items, create_items, InputItemList, {**of_items, **INCLUDING})
    routes.add("GET", items, list_items, InputItemList, PAGING)
    routes.add("GET", item, get_item, {"model": ConversationItem}, INCLUDING)
    routes.add("DELETE", item, delete_item, ConversationResource)


async def create_conversation(request: Request, gateway: GatewayDep) -> ConversationResource:
    body = await _read(CreateConversationRequest, request, gateway)
    made = Conversation(f"conv_{token_hex(24)}", int(time.time()), body.metadata or {})
    items = await _kept(body.items or (), request, gateway)
    await gateway.responses.conversations.add(owner_of(request), made, items)
    return _resource(made)


async def get_conversation(conversation: str, request: Request, gateway: GatewayDep) -> ConversationResource:
    found = await gateway.responses.conversations.get(owner_of(request), conversation)
    return _resource(_found(found, conversation))


async def update_conversation(conversation: str, request: Request, gateway: GatewayDep) -> ConversationResource:
    body = await _read(UpdateConversationRequest, request, gateway)
    conversations = gateway.responses.conversations
    updated = await conversations.update(owner_of(request), conversation, body.metadata or {})
    return _resource(_found(updated, conversation))


async def delete_conversation(conversation: str, request: Request, gateway: GatewayDep) -> ConversationDeleted:
    """The conversation with its items; the responses that were made from it stay."""
    if not await gateway.responses.conversations.delete(owner_of(request), conversation):
        raise ConversationNotFound(conversation)
    return {"id": conversation, "object": "conversation.deleted", "deleted": True}


async def create_items(conversation: str, request: Request, gateway: GatewayDep) -> InputItemList:
    """The items that were added at the end of the conversation."""
    check_include(request)
    body = await _read(CreateItemsRequest, request, gateway)
    items = await _kept(body.items, request, gateway)
    most = gateway.settings.max_body_bytes
    if not await gateway.responses.conversations.append(owner_of(request), conversation, items, most):
        raise ConversationNotFound(conversation)
    return _list(items, len(items))


async def list_items(conversation: str, request: Request, gateway: GatewayDep) -> InputItemList:
    """A page of the conversation's items."""
    page = page_of(request)
    items = await gateway.responses.conversations.page(owner_of(request), conversation, page)
    return _list(_found(items, conversation), page.limit)


async def get_item(conversation: str, item: str, request: Request, gateway: GatewayDep) -> Json:
    check_include(request)
    owner, conversations = owner_of(request), gateway.responses.conversations
    found = await conversations.item(owner, conversation, item)
    if found is None:
        _found(await conversations.get(owner, conversation), conversation)
        raise _no_item(item)
    return found


async def delete_item(conversation: str, item: str, request: Request, gateway: GatewayDep) -> ConversationResource:
    """The conversation without the item."""
    owner, conversations = owner_of(request), gateway.responses.conversations
    left = await conversations.delete_item(owner, conversation, item)
    if left is None:
        _found(await conversations.get(owner, conversation), conversation)
        raise _no_item(item)
    return _resource(left)


async def _read(model: type[Body], request: Request, gateway: Gateway) -> Body:
    settings = gateway.settings
    limits = (settings.max_body_bytes, settings.body_timeout_s, gateway.bodies)
    return parse_body(model, await read_object(request.scope, request.receive, *limits))


async def _kept(items: Any, request: Request, gateway: Gateway) -> list[Json]:
    """The items as they are kept, those that are referred to as copies."""
    given = as_kept(cast("list[Item]", items), token_hex(12))
    most = gateway.settings.max_body_bytes
    try:
        return [dict(item) for item in await resolved(given, gateway.responses, owner_of(request), most, "items")]
    except OverflowError:
        raise InvalidRequest(f"items: a conversation may have at most {most} bytes", "items") from None


Found = TypeVar("Found")


def _found(found: Found | None, id: str) -> Found:
    if found is None:
        raise ConversationNotFound(id)
    return found


def _no_item(id: str) -> ConversationItemNotFound:
    return ConversationItemNotFound(f"the conversation has no item {id[:80]!r}")


def _resource(conversation: Conversation) -> ConversationResource:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created,
        "metadata": dict(conversation.metadata),
    }


def _list(items: list[Json], limit: int) -> InputItemList:
    return cast("InputItemList", ListPage[Json].of(items, limit, itemgetter("id")).model_dump())
