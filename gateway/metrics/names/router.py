"""What llm-d's router (and the Gateway API's endpoint pickers) reads of a pod labelled as `triton-tensorrt-llm`.

Names and labels are those of NVIDIA's TensorRT-LLM backend of Triton; which of them are read is in llm-d-router,
pkg/epp/framework/plugins/datalayer/extractor/metrics/factories.go. It takes the first series that has the label it
looks for, so engines come in order of load: the busiest stands for its pod. The queue is the whole one: what waits in
the gateway, and in the engine.

`vllm:lora_requests_info` is read of servers that are configured with it; of its series the one with the highest value,
a time, counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import Metric

from gateway.metrics.engines import EngineNow
from gateway.metrics.names.projection import Labels, gauge

REQUESTS = "nv_trt_llm_request_metrics"
KV_CACHE = "nv_trt_llm_kv_cache_block_metrics"
LORA = "vllm:lora_requests_info"


def families(engines: Sequence[EngineNow]) -> list[Metric]:
    requests: list[tuple[Labels, float]] = []
    blocks: list[tuple[Labels, float]] = []
    for engine in engines:
        labels = {"model": engine.model, "version": "1"}
        requests += [({"request_type": kind, **labels}, value) for kind, value in _requests(engine).items()]
        blocks += [({"kv_cache_block_type": kind, **labels}, value) for kind, value in _blocks(engine).items()]
    return [
        gauge(REQUESTS, "Requests of the engine, by what becomes of them.", requests),
        gauge(KV_CACHE, "Blocks of the engine's paged KV cache.", blocks),
        lora(engines),
    ]


def lora(engines: Sequence[EngineNow]) -> Metric:
    """Every adapter that is loaded has its part of the engine, so each is told as running, by the name that a client
    asks for; there are no more than the specs of the engines reserve memory for."""
    room = sum(one.card.room for one in engines if one.card)
    adapters = [f"{one.model}:{adapter}" for one in engines if one.card for adapter in one.card.adapters]
    names = ",".join(sorted(adapters))
    labels = {"max_lora": str(room), "running_lora_adapters": names, "waiting_lora_adapters": ""}
    return gauge(LORA, "Adapters that requests can run with at once.", [(labels, time.time())])


def _requests(engine: EngineNow) -> dict[str, float]:
    counts: dict[str, float] = {
        "waiting": engine.waiting,
        "scheduled": engine.running,
        "active": engine.waiting + engine.running,
    }
    if engine.card is not None and engine.card.max_batch_size is not None:
        counts["max"] = engine.card.max_batch_size
    return counts


def _blocks(engine: EngineNow) -> dict[str, float]:
    """`tokens_per` and `max` are 0, which is not known, where the engine has no such cache."""
    use, blocks = engine.kv_use or 0.0, engine.kv_blocks or 0
    used = round(use * blocks)
    return {
        "fraction": use,
        "tokens_per": engine.tokens_per_block or 0,
        "max": blocks,
        "used": used,
        "free": blocks - used,
    }
