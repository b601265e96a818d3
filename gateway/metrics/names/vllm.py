"""vLLM's names, old and new, for boards and autoscalers that know them (vLLM's docs/design/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import Metric

from gateway.metrics import table
from gateway.metrics.engines import EngineNow
from gateway.metrics.names.projection import Labels, gauge, renamed

_REASONS: Final = {"stop": "stop", "tool_calls": "stop", "length": "length", "cancelled": "abort", "error": "error"}
_RENAMED: Final = {
    "vllm:time_to_first_token_seconds": table.FIRST_TOKEN,
    "vllm:inter_token_latency_seconds": table.INTER_TOKEN,
    "vllm:time_per_output_token_seconds": table.INTER_TOKEN,  # its name before 0.11
    "vllm:request_time_per_output_token_seconds": table.TOKEN,
    "vllm:e2e_request_latency_seconds": table.DURATION,
    "vllm:request_queue_time_seconds": table.QUEUE,
    "vllm:request_prompt_tokens": table.PROMPT_LENGTH,
    "vllm:request_generation_tokens": table.COMPLETION_LENGTH,
    "vllm:prompt_tokens": table.PROMPT_TOKENS,
    "vllm:generation_tokens": table.COMPLETION_TOKENS,
    "vllm:prompt_tokens_cached": table.CACHED_TOKENS,
}


def families(own: Sequence[Metric], engines: Sequence[EngineNow]) -> list[Metric]:
    ends = renamed(own, {"vllm:request_success": table.REQUESTS}, _with_reason)
    return [*renamed(own, _RENAMED, _labels), *ends, *_gauges(engines)]


def _gauges(engines: Sequence[EngineNow]) -> list[Metric]:
    def of_each(name: str, help: str, value: dict[str, float]) -> Metric:
        return gauge(name, help, [(_of(model), number) for model, number in value.items()])

    use = {engine.model: engine.kv_use for engine in engines if engine.kv_use is not None}
    caches = [engine for engine in engines if engine.kv_blocks and engine.tokens_per_block]
    info: list[tuple[Labels, float]] = [
        ({**_of(one.model), "block_size": str(one.tokens_per_block), "num_gpu_blocks": str(one.kv_blocks)}, 1)
        for one in caches
    ]
    return [
        of_each("vllm:num_requests_running", table.RUNNING.help, {one.model: one.running for one in engines}),
        of_each("vllm:num_requests_waiting", table.WAITING.help, {one.model: one.waiting for one in engines}),
        of_each("vllm:kv_cache_usage_perc", "Share of the KV cache in use, of 1.", use),
        of_each("vllm:gpu_cache_usage_perc", "Its name before 0.10.", use),
        gauge("vllm:cache_config_info", "Always 1; how the KV cache is divided.", info),
    ]


def _of(model: str) -> dict[str, str]:
    return {"model_name": model, "engine": "0"}


def _labels(labels: Labels) -> Labels | None:
    return _of(labels["model"])


def _with_reason(labels: Labels) -> Labels | None:
    """Only of requests that an engine began to answer, as with vLLM."""
    if not labels["model"] or labels["status"] != "2xx":
        return None
    return {**_of(labels["model"]), "finished_reason": _REASONS[labels["finish_reason"]]}
