"""The names in traces: OpenTelemetry's semantic conventions for generative AI, in the one version that is kept to.

Their status is Development: names change between versions, so a new version is taken here, whole.
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

REQUEST_ID: Final = "conch.request_id"  # Conch's own: under this id Triton and the log know the request

_OPERATIONS: Final = {
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v2/models/{model}/infer": "infer",  # none of the conventions'
}


def operation_of(endpoint: str) -> str:
    return _OPERATIONS.get(endpoint, "chat")
