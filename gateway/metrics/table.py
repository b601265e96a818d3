"""The gateway's own series: the one place for their names, labels and buckets. docs/metrics.md lists it.

Buckets of times are OpenTelemetry's (semantic conventions for generative AI, "Model server metrics"), with finer ones
for tokens that take less than 10 ms; those of lengths are powers of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_FIRST_TOKEN_S: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
_TOKEN_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_REQUEST_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84)
_QUEUE_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_LENGTHS: Final = tuple(2.0**power for power in range(18))

Kind = Literal["counter", "gauge", "histogram"]
_ENGINE: Final = ("model", "version", "arm")
_GPU: Final = ("gpu", "gpu_name")


@dataclass(frozen=True, slots=True)
class Series:
    """`name` is without the `_total` that a counter is exposed with."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> str:
        return self.name + ("_total" if self.kind == "counter" else "")


def _counter(name: str, help: str, *labels: str) -> Series:
    return Series("counter", name, help, labels)


def _gauge(name: str, help: str, *labels: str) -> Series:
    return Series("gauge", name, help, labels)


def _histogram(name: str, help: str, buckets: tuple[float, ...]) -> Series:
    return Series("histogram", name, help, _ENGINE, buckets)


REQUESTS: Final = _counter(
    "conch_requests",
    "Requests for an answer, by how they ended: status is its class; finish_reason is stop, length, tool_calls, "
    "cancelled (the client left) or error; model is empty where none is served. "
    "Those without the API key do not count.",
    "endpoint",
    *_ENGINE,
    "status",
    "finish_reason",
)
REJECTED: Final = _counter(
    "conch_requests_rejected",
    "Requests that were answered with an error status, by the code of the error, or its type where it has no code.",
    *_ENGINE,
    "reason",
)
PROMPT_TOKENS: Final = _counter("conch_prompt_tokens", "Tokens of prompts.", *_ENGINE)
COMPLETION_TOKENS: Final = _counter("conch_completion_tokens", "Tokens of answers, also of those cut short.", *_ENGINE)
CACHED_TOKENS: Final = _counter(
    "conch_cached_tokens", "Tokens of prompts that were in the KV cache already, of engines that tell.", *_ENGINE
)
FIRST_TOKEN: Final = _histogram(
    "conch_time_to_first_token_seconds", "From a request to the first text of its stream.", _FIRST_TOKEN_S
)
INTER_TOKEN: Final = _histogram(
    "conch_inter_token_latency_seconds",
    "Between two tokens of a stream; those that arrive together have equal parts of the time since those before them.",
    _TOKEN_S,
)
TOKEN: Final = _histogram(
    "conch_time_per_output_token_seconds", "Mean time of a stream's tokens after its first.", _TOKEN_S
)
DURATION: Final = _histogram(
    "conch_request_duration_seconds", "From a request to the end of its whole answer.", _REQUEST_S
)
QUEUE: Final = _histogram(
    "conch_queue_time_seconds", "How long an answer waited in the gateway for its engine to have room.", _QUEUE_S
)
PROMPT_LENGTH: Final = _histogram("conch_request_prompt_tokens", "Tokens of the prompts of one request.", _LENGTHS)
COMPLETION_LENGTH: Final = _histogram("conch_request_completion_tokens", "Tokens of one whole answer.", _LENGTHS)

IN_FLIGHT: Final = _gauge("conch_requests_in_flight", "Requests that are being answered, or wait.")
RUNNING: Final = _gauge("conch_requests_running", "Answers that the gateway has sent to the engine.", "model")
WAITING: Final = _gauge("conch_requests_waiting", "Answers that wait for their engine to have room.", "model")
ENGINE_UP: Final = _gauge("conch_engine_up", "1 for an engine that is ready and makes progress, else 0.", "model")
MAX_BATCH: Final = _gauge("conch_engine_max_batch_size", "Sequences that the engine works on at once.", "model")
TRITON_UP: Final = _gauge(
    "conch_triton_metrics_up", "1 where the metrics of a Triton could be read for this answer, else 0.", "server"
)
BUILD: Final = _gauge("conch_build_info", "Always 1; which Conch this is.", "version", "python")
CERTIFICATE: Final = _gauge(
    "conch_tls_certificate_expiry_timestamp_seconds", "When the certificate of --tls-cert ends, in Unix time."
)
DISK_FREE: Final = _gauge("conch_store_disk_free_bytes", "Free on the disk of --store.")
DISK: Final = _gauge("conch_store_disk_bytes", "Size of the disk of --store.")
GPU_UTILIZATION: Final = _gauge("conch_gpu_utilization_ratio", "Part of the time that the GPU computed.", *_GPU)
GPU_MEMORY_USED: Final = _gauge("conch_gpu_memory_used_bytes", "Memory of the GPU in use.", *_GPU)
GPU_MEMORY: Final = _gauge("conch_gpu_memory_total_bytes", "Memory of the GPU.", *_GPU)
GPU_POWER: Final = _gauge("conch_gpu_power_watts", "Power that the GPU draws.", *_GPU)
GPU_ENERGY: Final = _counter("conch_gpu_energy_joules", "Energy that the GPU has used since its driver loaded.", *_GPU)

RECORDED: Final = (
    REQUESTS,
    REJECTED,
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    CACHED_TOKENS,
    FIRST_TOKEN,
    INTER_TOKEN,
    TOKEN,
    DURATION,
    QUEUE,
    PROMPT_LENGTH,
    COMPLETION_LENGTH,
)
"""What requests leave behind, as opposed to what is looked up when it is asked for."""

LOOKED_UP: Final = (IN_FLIGHT, RUNNING, WAITING, ENGINE_UP, MAX_BATCH, TRITON_UP, BUILD, CERTIFICATE, DISK_FREE, DISK)
OF_GPUS: Final = (GPU_UTILIZATION, GPU_MEMORY_USED, GPU_MEMORY, GPU_POWER, GPU_ENERGY)
"""Only where NVML finds a GPU."""

SERIES: Final = (*RECORDED, *LOOKED_UP, *OF_GPUS)
