"""Which arm of a weighted split answers a client: the same one for as long as it is there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

Arm = TypeVar("Arm", int, str)

_BITS: Final = 64


def pick_arm(split: str, arms: Mapping[Arm, int], client: str) -> Arm:
    """One of the arms, each as often as its weight says; `split` tells its draw from those of other splits.

    Weighted rendezvous hashing: where an arm is added or goes, only the clients move that come to it or were at it.
    """
    return min(arms, key=lambda arm: _distance(f"{split}\0{arm}\0{client}", arms[arm]))


def _distance(text: str, weight: int) -> float:
    if weight == 0:
        return math.inf
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BITS // 8).digest()
    return -math.log((int.from_bytes(digest, "big") + 0.5) / 2**_BITS) / weight


def client_of(fields: Mapping[str, Any], key_name: str, request_id: str) -> str:
    """Who asks: the user that the body names, else the holder of the API key, else nobody that could come again.

    OpenAI's `safety_identifier`, or `user` before it; Anthropic's `metadata.user_id`.
    """
    metadata = fields.get("metadata")
    others = metadata.get("user_id") if isinstance(metadata, dict) else None
    for user in (fields.get("safety_identifier"), fields.get("user"), others):
        if isinstance(user, str) and user:
            return f"user {user}"
    return f"key {key_name}" if key_name else f"request {request_id}"
