"""OpenTelemetry's names of a server's metrics, as they are written for Prometheus.

"Semantic conventions for generative AI systems", model server metrics: gen_ai.server.*, with `_` for `.` and the unit
at the end. Their status is Development.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from prometheus_client import Metric

from gateway.metrics import table
from gateway.metrics.engines import EngineNow
from gateway.metrics.names.projection import Labels, renamed

PROVIDER: Final = "conch"
_RENAMED: Final = {
    "gen_ai_server_request_duration_seconds": table.DURATION,
    "gen_ai_server_time_to_first_token_seconds": table.FIRST_TOKEN,
    "gen_ai_server_time_per_output_token_seconds": table.TOKEN,
}


def families(own: Sequence[Metric], engines: Sequence[EngineNow]) -> list[Metric]:
    encoders = {engine.model for engine in engines if engine.card is not None and engine.card.encoder is not None}
    return renamed(own, _RENAMED, partial(_labels, encoders))


def _labels(encoders: set[str], labels: Labels) -> Labels | None:
    return {
        "gen_ai_operation_name": "embeddings" if labels["model"] in encoders else "chat",
        "gen_ai_provider_name": PROVIDER,
        "gen_ai_request_model": labels["model"],
        "gen_ai_response_model": labels["model"],
    }
