"""What is watched: the panels of the dashboard, and the rules with what to do about each. The one place for queries.

`python -m deploy.monitoring.generate` writes the dashboard, Prometheus' rules and docs/runbook.md from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TTFT_OBJECTIVE_S: Final = 2.5  # a bucket of conch_time_to_first_token_seconds
TTFT_OBJECTIVE: Final = 0.99  # of the streams begin within it
SUCCESS_OBJECTIVE: Final = 0.995  # of the requests end without an error of the server
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d")
RATE: Final = "$__rate_interval"  # Grafana's variable


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries` are legend and query, `unit` is Grafana's name of it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Fires where every one of `values` has been beyond its bound for `hold`.

    Attributes:
        values: query, comparison and bound.
        causes: cause, and the command that shows it.
    """

    name: str
    severity: str  # page, ticket
    values: tuple[tuple[str, str], ...]
    hold: str
    meaning: str
    causes: tuple[tuple[str, str], ...]

    @property
    def query(self) -> str:
        return " and ".join(f"{value} {bound}" for value, bound in self.values)


def _quantiles(series: str) -> tuple[tuple[str, str], ...]:
    by = f"sum by (le, model) (rate({series}_bucket[{RATE}]))"
    return tuple((f"p{q} {{{{model}}}}", f"histogram_quantile(0.{q}, {by})") for q in (50, 95, 99))


def _rate(series: str, by: str = "model") -> tuple[tuple[str, str], ...]:
    return ((f"{{{{{by}}}}}", f"sum by ({by}) (rate({series}[{RATE}]))"),)


ROWS: Final = (
    Row(
        "What clients see",
        (
            Panel("Time to first token", "s", _quantiles("conch_time_to_first_token_seconds")),
            Panel("Inter-token latency", "s", _quantiles("conch_inter_token_latency_seconds")),
            Panel("Whole answers", "s", _quantiles("conch_request_duration_seconds")),
            Panel("Requests", "reqps", _rate("conch_requests_total", "finish_reason")),
            Panel("Generated tokens", "short", _rate("conch_completion_tokens_total")),
            Panel("Rejected requests, by reason", "reqps", _rate("conch_requests_rejected_total", "reason")),
        ),
    ),
    Row(
        "Queue and engine",
        (
            Panel("Time in the queue", "s", _quantiles("conch_queue_time_seconds")),
            Panel(
                "Requests",
                "short",
                (
                    ("waiting {{model}}", "sum by (model) (conch_requests_waiting)"),
                    ("at the engine {{model}}", "sum by (model) (conch_requests_running)"),
                    ("running {{model}}", 'sum by (model) (conch_engine_requests{state="running"})'),
                ),
            ),
            Panel(
                "KV cache in use", "percentunit", (("{{model}}", "max by (model) (conch_engine_kv_cache_utilization)"),)
            ),
            Panel("Prompt tokens", "short", _rate("conch_prompt_tokens_total")),
            Panel(
                "Batch in use",
                "percentunit",
                (
                    (
                        "{{model}}",
                        'sum by (model) (conch_engine_requests{state="running"})'
                        " / sum by (model) (conch_engine_max_batch_size)",
                    ),
                ),
            ),
            Panel("Engines up", "short", (("{{model}}", "min by (model) (conch_engine_up)"),)),
        ),
    ),
    Row(
        "Budget of errors",
        (
            Panel(
                "Requests that fail (objective 0.5 %)",
                "percentunit",
                (("1 h", "conch:errors:ratio1h"), ("5 min", "conch:errors:ratio5m")),
            ),
            Panel(
                f"Streams that begin after {TTFT_OBJECTIVE_S} s (objective 1 %)",
                "percentunit",
                (("1 h", "conch:slow_first_tokens:ratio1h"), ("5 min", "conch:slow_first_tokens:ratio5m")),
            ),
            Panel(
                "Requests in Triton",
                "reqps",
                (("{{model}}", f"sum by (model) (rate(nv_inference_request_success[{RATE}]))"),),
            ),
        ),
    ),
    Row(
        "GPU (where there is one)",
        (
            Panel("Utilisation", "percentunit", (("GPU {{gpu}}", "conch_gpu_utilization_ratio"),)),
            Panel(
                "Memory in use",
                "percentunit",
                (("GPU {{gpu}}", "conch_gpu_memory_used_bytes / conch_gpu_memory_total_bytes"),),
            ),
            Panel("Power", "watt", (("GPU {{gpu}}", "conch_gpu_power_watts"),)),
            Panel(
                "Energy per generated token",
                "joule",
                (
                    (
                        "J per token",
                        f"sum(rate(conch_gpu_energy_joules_total[{RATE}]))"
                        f" / sum(rate(conch_completion_tokens_total[{RATE}]))",
                    ),
                ),
            ),
        ),
    ),
)


def _errors(window: str) -> str:
    """A stream that fails has had its status 2xx; 4xx are the client's own."""
    failed = f'sum(rate(conch_requests_total{{status=~"2xx|5xx", finish_reason="error"}}[{window}]))'
    return f"({failed} or vector(0)) / sum(rate(conch_requests_total[{window}]))"


def _slow(window: str) -> str:
    series = "conch_time_to_first_token_seconds"
    in_time = f'sum(rate({series}_bucket{{le="{TTFT_OBJECTIVE_S}"}}[{window}]))'
    return f"1 - {in_time} / sum(rate({series}_count[{window}]))"


RECORDINGS: Final = (
    *(Recording(f"conch:errors:ratio{window}", _errors(window)) for window in WINDOWS),
    *(Recording(f"conch:slow_first_tokens:ratio{window}", _slow(window)) for window in WINDOWS),
)


def _burning(record: str, budget: float, factor: float, *windows: str) -> tuple[tuple[str, str], ...]:
    """As in Google's Site Reliability Workbook, chapter 5: the short window ends the alert soon after its cause."""
    return tuple((f"{record}{window}", f"> {factor} * {budget:g}") for window in windows)


_ERRORS, _SLOW = "conch:errors:ratio", "conch:slow_first_tokens:ratio"
_ERROR_BUDGET, _SLOW_BUDGET = 1 - SUCCESS_OBJECTIVE, 1 - TTFT_OBJECTIVE
_ERROR_CAUSES: Final = (
    ("an engine is lost or makes no progress", "curl -s http://127.0.0.1:9000/health/ready"),
    ("more is asked than the engine can do", "conch top --once"),
    ("the engine fails: its errors are in the log of `conch serve`", "journalctl -u conch | grep -i error"),
)
_SLOW_CAUSES: Final = (
    ("requests wait for their turn: compare the queue's time with the time to the first token", "conch top --once"),
    ("long prompts hold up the batch", "python -m bench.overload"),
    ("other programs use the machine", "uptime"),
)

ALERTS: Final = (
    Alert(
        "ConchErrorsFast",
        "page",
        _burning(_ERRORS, _ERROR_BUDGET, 14.4, "1h", "5m"),
        "2m",
        "Requests fail so often that the errors allowed in 30 days are used up in two days.",
        _ERROR_CAUSES,
    ),
    Alert(
        "ConchErrorsSlow",
        "ticket",
        _burning(_ERRORS, _ERROR_BUDGET, 3, "1d", "2h"),
        "15m",
        "Requests fail so often that the errors allowed in 30 days are used up in ten days.",
        _ERROR_CAUSES,
    ),
    Alert(
        "ConchFirstTokenFast",
        "page",
        _burning(_SLOW, _SLOW_BUDGET, 14.4, "1h", "5m"),
        "2m",
        f"So many streams begin after {TTFT_OBJECTIVE_S} s that what is allowed in 30 days is used up in two days.",
        _SLOW_CAUSES,
    ),
    Alert(
        "ConchFirstTokenSlow",
        "ticket",
        _burning(_SLOW, _SLOW_BUDGET, 6, "6h", "30m"),
        "15m",
        f"So many streams begin after {TTFT_OBJECTIVE_S} s that what is allowed in 30 days is used up in five days.",
        _SLOW_CAUSES,
    ),
    Alert(
        "ConchDown",
        "page",
        (('up{job="conch"}', "== 0"),),
        "1m",
        "The gateway does not answer.",
        (
            ("it has ended, or is being started again", "systemctl status conch"),
            ("it hangs, or its port is not reached", "curl -v http://127.0.0.1:9000/health/live"),
        ),
    ),
    Alert(
        "ConchEngineLost",
        "page",
        (("min by (instance, model) (conch_engine_up)", "== 0"),),
        "2m",
        "An engine is not ready, or makes no progress; its requests are rejected with 503.",
        (
            ("it is being started again: the log says why, and how often", "journalctl -u conch | grep engine"),
            ("a step hangs", "curl -s http://127.0.0.1:9000/metrics | grep conch_engine_step_age_seconds"),
            ("Triton does not answer", "curl -s http://127.0.0.1:9000/health/ready"),
        ),
    ),
    Alert(
        "ConchKvCacheFull",
        "ticket",
        (("max by (instance, model) (conch_engine_kv_cache_utilization)", "> 0.95"),),
        "10m",
        "The KV cache of an engine is full: requests wait although its batch has room.",
        (
            ("answers or prompts are longer than the cache was made for", "conch top --once"),
            ("the cache is small: `serve.kv_cache_*` of the spec (docs/tuning.md)", "conch doctor"),
        ),
    ),
    Alert(
        "ConchQueueGrows",
        "ticket",
        (
            ("sum by (instance, model) (conch_requests_waiting)", "> 0"),
            ("deriv(sum by (instance, model) (conch_requests_waiting)[10m:30s])", "> 0"),
        ),
        "10m",
        "More requests come than the engine can do, and more and more of them wait.",
        (
            (
                "one key asks far more than others",
                'curl -s -H "Authorization: Bearer $CONCH_ADMIN_KEY" http://127.0.0.1:9000/admin/status',
            ),
            ("the load has grown beyond one server", "conch top --once"),
        ),
    ),
    Alert(
        "ConchCertificateEnds",
        "ticket",
        (("conch_tls_certificate_expiry_timestamp_seconds - time()", "< 14 * 86400"),),
        "1h",
        "The certificate of --tls-cert ends within two weeks. It is read at the start: renew it, then restart.",
        (("it was not renewed", "openssl x509 -enddate -noout -in CERT"),),
    ),
    Alert(
        "ConchDiskFull",
        "ticket",
        (("conch_store_disk_free_bytes / conch_store_disk_bytes", "< 0.05"),),
        "10m",
        "The disk of --store is nearly full: what clients want kept will be rejected.",
        (
            ("the store itself: --store-max-bytes, --store-max-age-s", "ls -lh STORE"),
            ("another program", "df -h"),
        ),
    ),
)
