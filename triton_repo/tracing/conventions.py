"""The names in traces: OpenTelemetry's semantic conventions for generative AI and HTTP, in the one version kept to.

The status of those for AI is Development: names change between versions, so a new version is taken here, whole.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "1.37.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{VERSION}"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
ERROR_TYPE: Final = "error.type"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"

_CHAT: Final = "/v1/chat/completions"

REQUEST_ID: Final = "conch.request_id"  # Conch's own: under this id Triton and the log know the request

_OPERATIONS: Final = {  # by the last word of a path; those behind the first two are none of the conventions'
    "completions": "text_completion",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "score": "score",
    "classify": "classify",
    "infer": "infer",
}


def operation_of(endpoint: str) -> str:
    return "chat" if endpoint == _CHAT else _OPERATIONS.get(endpoint.rpartition("/")[2], "chat")
