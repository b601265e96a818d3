"""What all paths of KServe's API have in common: the form of an error, and how a key is presented.

Source of the formats: the Open Inference Protocol, version 2, and Triton's extensions to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from typing_extensions import TypedDict

from gateway.dialects.openai.envelope import OPENAI
from triton_repo.contract.errors import RequestError

ROOT: Final = "/v2"
_OF_OTHERS: Final = "/v2/rerank"


class KServeError(TypedDict):
    error: str


class KServe:
    key_hint: Final = OPENAI.key_hint
    error_model: Final = KServeError
    ping: Final = b""
    id_headers: Final[tuple[bytes, ...]] = ()

    def error_body(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002
        return orjson.dumps(KServeError(error=error.message))

    def api_keys(self, headers: Mapping[bytes, list[bytes]]) -> list[bytes]:
        return OPENAI.api_keys(headers)


KSERVE: Final = KServe()


def is_kserve(path: str) -> bool:
    """Whether a path belongs to this API, one that does not exist included."""
    return path.startswith(ROOT) and path != _OF_OTHERS and path[len(ROOT) :][:1] in ("", "/")
