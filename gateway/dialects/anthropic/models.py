"""The models in the form of Anthropic's API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from typing_extensions import TypedDict

from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.model_card import ModelCard

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000


class ModelInfo(TypedDict):
    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int
    max_tokens: int


class ModelsPage(TypedDict):
    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


def model_info(name: str, card: ModelCard) -> ModelInfo:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": datetime.fromtimestamp(card.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": card.max_seq_len,
        "max_tokens": card.max_seq_len,
    }


def models_page(models: Mapping[str, ModelCard], query: Mapping[str, str]) -> ModelsPage:
    """One page: up to `limit` models behind `after_id`, or those before `before_id`.

    Raises:
        InvalidRequest: `limit` is not a number that is allowed, or there is no such model.
    """
    names, limit = list(models), _limit(query.get("limit", str(_DEFAULT_LIMIT)))
    first, end = 0, len(names)
    if (after := query.get("after_id")) is not None:
        first = _place(after, names, "after_id") + 1
    if (before := query.get("before_id")) is not None:
        end = _place(before, names, "before_id")
        first = max(first, end - limit)
    page = names[first : min(end, first + limit)]
    return {
        "data": [model_info(name, models[name]) for name in page],
        "has_more": first > 0 if before is not None else first + limit < end,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MAX_LIMIT:
        raise InvalidRequest(f"limit = {text[:64]!r}: must be 1 to {_MAX_LIMIT}", "limit")
    return int(text)


def _place(name: str, names: list[str], param: str) -> int:
    if name not in names:
        raise InvalidRequest(f"{param} = {name[:200]!r}: there is no such model", param)
    return names.index(name)
