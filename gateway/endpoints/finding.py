"""Which engine a request is for: the one place where a body's `model` is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.admission.caller import Caller
from gateway.admission.terms import Terms
from gateway.catalog.arms import client_of
from gateway.catalog.catalog import Found
from gateway.catalog.resolution import versions_of
from gateway.http.keys import ENVIRONMENT_KEY
from gateway.state import Gateway
from triton_repo.contract.errors import InvalidRequest


async def with_model(gateway: Gateway, fields: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """A body as it is; one that names no model, with the first of the server, or the only one that its caller may use.

    Raises:
        InvalidRequest: there are several, and none of them was made the first.
    """
    if fields.get("model") not in (None, ""):
        return fields
    names = {name for name in versions_of(await gateway.backend.models()) if caller.may_use(name)}
    names = names or {*(caller.models or ())}  # a key may have an alias, a version or an adapter alone
    first = gateway.settings.first_model
    if first not in names and len(names) != 1:
        raise InvalidRequest("model: a name is required where several models, or none, are served", "model")
    return {**fields, "model": first if first in names else names.pop()}


async def found(gateway: Gateway, model: str, fields: Mapping[str, Any], caller: Caller, request_id: str) -> Found:
    """The engine that answers a body with this `model`.

    Raises:
        ModelNotFound: there is none, or the caller may not use it.
        RequestError: Triton cannot tell.
    """
    found = await gateway.catalog.find(model, _client(fields, caller, request_id))
    caller.check_may_use(*found.resolution.names)
    return found


def check_open(gateway: Gateway, fields: Mapping[str, Any], caller: Caller, request_id: str, terms: Terms) -> None:
    """To parse a request costs more than to reject it, which an overloaded server does most of the time.

    Raises:
        ModelNotFound: the caller may not use the model; that comes first, because how busy it is tells that it exists.
        ServerOverloaded: there is no room for one more request to it.
    """
    model = fields.get("model")
    if model and isinstance(model, str):
        guess = gateway.catalog.guess(model, _client(fields, caller, request_id))
        caller.check_may_use(*guess.names)
        if fields.get("priority") is not None:  # not read yet, so it may be the highest
            terms = replace(terms, priority=1.0)
        gateway.admission.check_open(guess.engine, terms)


def _client(fields: Mapping[str, Any], caller: Caller, request_id: str) -> str:
    """All clients may have the key of the environment: it tells none from another."""
    return client_of(fields, "" if caller.name == ENVIRONMENT_KEY else caller.name, request_id)
