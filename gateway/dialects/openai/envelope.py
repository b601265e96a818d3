"""What all of OpenAI's endpoints have in common: the body of an error, and how a key is presented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from gateway.dialects.openai.answers.error import ErrorBody
from gateway.dialects.openai.chunks import error_json
from triton_repo.contract.errors import RequestError


class OpenAi:
    key_hint: Final = "Authorization: Bearer KEY"
    error_model: Final = ErrorBody
    ping: Final = b": ping\n\n"
    id_headers: Final[tuple[bytes, ...]] = ()

    def error_body(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002
        return orjson.dumps(error_json(error))

    def api_keys(self, headers: Mapping[bytes, list[bytes]]) -> list[bytes]:
        """Those of `Authorization: Bearer KEY`."""
        given = [value.partition(b" ") for value in headers.get(b"authorization", [])]
        return [key.strip() for scheme, _, key in given if scheme.lower() == b"bearer"]


OPENAI: Final = OpenAi()
