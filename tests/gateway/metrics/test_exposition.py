"""What else /metrics has: Triton's own series, GPUs, engines, and the names that boards and routers know."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pynvml
import pytest

from gateway.metrics import table
from gateway.metrics.certificate import ends_at
from gateway.metrics.triton import TritonMetrics
from gateway.settings import Settings
from tests.conftest import ROOT, Stack
from tests.fake_nvml import H100, install_gpus
from tests.gateway.bodies import CHAT, HELLO
from tests.gateway.echo_models import EchoModels
from tests.gateway.scrape import requests, scrape, scrape_until, value
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving

OF_TRITON = """\
# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{model="demo_engine",version="1"} 42
# HELP conch_engine_requests Live requests by state
# TYPE conch_engine_requests gauge
conch_engine_requests{model="demo",state="running"} 3
conch_engine_requests{model="demo",state="waiting"} 2
conch_engine_kv_cache_utilization{model="demo"} 0.25
conch_engine_kv_cache_blocks{model="demo"} 400
conch_engine_kv_cache_tokens_per_block{model="demo"} 32
"""
ALL_NAMES = ("conch", "triton", "router", "vllm", "gen_ai")


@contextmanager
def triton_metrics(text: str, status: int = 200) -> Iterator[str]:
    """The address of a server that answers with `text`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tritons_own_series_pass_through() -> None:
    with triton_metrics(OF_TRITON) as address, serving(ScriptedBackend(), triton_metrics=(address,)) as gateway:
        series = scrape(gateway.url)
        openmetrics = httpx.get(f"{gateway.url}/metrics", headers={"accept": "application/openmetrics-text"})
    assert value(series, "nv_inference_count", model="demo_engine", version="1") == 42
    assert value(series, "conch_engine_requests", model="demo", state="running") == 3
    assert value(series, "conch_triton_metrics_up", server=address) == 1
    assert "# TYPE nv_inference_count unknown" in openmetrics.text  # no counter of OpenMetrics ends otherwise


@pytest.mark.parametrize("text", ["not metrics at all {", 'x{a="1",\t="2"} 3', "x" * (3 << 20), ""])
def test_without_usable_metrics_of_triton_the_rest_is_there(text: str) -> None:
    with triton_metrics(text) as address, serving(ScriptedBackend(), triton_metrics=(address,)) as gateway:
        series = scrape(gateway.url)
    assert value(series, "conch_triton_metrics_up", server=address) == 0
    assert value(series, "conch_engine_up", model="demo") == 1


def test_a_model_beside_the_engines_is_no_engine_that_is_down_whatever_its_version() -> None:
    backend = ScriptedBackend(others=EchoModels(), lost="no server has it ready")
    tensor = {"name": "x", "datatype": "INT32", "shape": [1], "data": [1]}
    with serving(backend, other_models=("echo",)) as gateway:
        answer = httpx.post(f"{gateway.url}/v2/models/echo/versions/3/infer", json={"inputs": [tensor]})
        up = {dict(labels)["model"] for name, labels in scrape(gateway.url) if name == "conch_engine_up"}
    assert (answer.status_code, up) == (200, {"demo"})


def test_several_tritons_are_told_apart_and_one_that_is_gone_leaves_the_others() -> None:
    with (
        triton_metrics(OF_TRITON) as first,
        triton_metrics(OF_TRITON) as second,
        serving(ScriptedBackend(), triton_metrics=(first, second, "127.0.0.1:1"), metrics_names=ALL_NAMES) as gateway,
    ):
        text = httpx.get(f"{gateway.url}/metrics").text
        series = scrape(gateway.url)
    for server in (first, second):
        assert value(series, "conch_triton_metrics_up", server=server) == 1
        assert value(series, "nv_inference_count", model="demo_engine", version="1", server=server) == 42
    assert value(series, "conch_triton_metrics_up", server="127.0.0.1:1") == 0
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    scheduled = value(series, "nv_trt_llm_request_metrics", model="demo", request_type="scheduled")
    assert scheduled == 6, "the engine of both servers is one to a router"


def test_a_triton_that_is_gone_or_silent_leaves_nothing_behind() -> None:
    async def families(address: str) -> int:
        return len(await TritonMetrics(address).families())

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            writer.close()

    async def of_a_silent_server() -> int:
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        try:
            return await families(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        finally:
            server.close()

    assert asyncio.run(families("127.0.0.1:1")) == 0
    assert asyncio.run(of_a_silent_server()) == 0
    with triton_metrics(OF_TRITON, status=404) as address:
        assert asyncio.run(families(address)) == 0


def test_a_router_finds_queue_load_and_cache_under_the_names_of_tritons_tensorrt_llm_backend() -> None:
    backend = ScriptedBackend(cards={"demo": replace(CARD, max_batch_size=8, adapters=("sql", "poet"))})
    with triton_metrics(OF_TRITON) as address, serving(backend, triton_metrics=(address,)) as gateway:
        series = scrape(gateway.url)
    expected = {"waiting": 2, "scheduled": 3, "active": 5, "max": 8}
    for kind, count in expected.items():
        assert value(series, "nv_trt_llm_request_metrics", request_type=kind, model="demo", version="1") == count
    for kind, number in {"fraction": 0.25, "tokens_per": 32, "max": 400, "used": 100, "free": 300}.items():
        assert value(series, "nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type=kind) == number
    (lora,) = [labels for name, labels in series if name == "vllm:lora_requests_info"]
    adapters = {"max_lora": "2", "running_lora_adapters": "demo:poet,demo:sql", "waiting_lora_adapters": ""}
    assert dict(lora) == adapters
    assert not any(name.startswith("vllm:num") for name, _ in series)  # only where it is asked for


def test_a_router_reads_the_busiest_of_several_engines_first() -> None:
    busy = 'conch_engine_requests{model="two",state="waiting"} 7\n'
    backend = ScriptedBackend(cards={"one": CARD, "two": CARD})
    with triton_metrics(busy) as address, serving(backend, triton_metrics=(address,)) as gateway:
        text = httpx.get(f"{gateway.url}/metrics").text
    waiting = [line for line in text.splitlines() if 'request_type="waiting"' in line]
    assert [line.split("}")[0].split('model="')[1].split('"')[0] for line in waiting] == ["two", "one"]


def test_a_request_has_the_names_of_vllm_and_opentelemetry_where_they_are_asked_for() -> None:
    script = [delta("a"), delta("b", "stop", 5)]
    with (
        triton_metrics(OF_TRITON) as address,
        serving(ScriptedBackend(script), triton_metrics=(address,), metrics_names=ALL_NAMES) as gateway,
    ):
        httpx.post(gateway.url + CHAT, json={"model": "demo", "messages": [HELLO], "stream": True})
        series = scrape_until(gateway.url, requests)
    of = {"model_name": "demo", "engine": "0"}
    for name, count in {
        "vllm:time_to_first_token_seconds_count": 1,
        "vllm:inter_token_latency_seconds_count": 4,
        "vllm:time_per_output_token_seconds_count": 4,
        "vllm:request_time_per_output_token_seconds_count": 1,
        "vllm:e2e_request_latency_seconds_count": 1,
        "vllm:request_queue_time_seconds_count": 1,
        "vllm:prompt_tokens_total": 3,
        "vllm:generation_tokens_total": 5,
        "vllm:request_success_total": 1,
        "vllm:num_requests_running": 3,
        "vllm:num_requests_waiting": 2,
        "vllm:kv_cache_usage_perc": 0.25,
        "vllm:gpu_cache_usage_perc": 0.25,
        "vllm:cache_config_info": 1,
    }.items():
        assert value(series, name, **of) == count, name
    assert value(series, "vllm:request_success_total", finished_reason="stop") == 1
    first = "gen_ai_server_time_to_first_token_seconds_count"
    assert value(series, first, gen_ai_operation_name="chat", gen_ai_request_model="demo") == 1


def test_names_are_left_out_where_they_are_not_chosen_and_unknown_ones_rejected() -> None:
    with serving(ScriptedBackend(), metrics_names=("vllm",)) as gateway:
        httpx.post(gateway.url + CHAT, json={"model": "demo", "messages": [HELLO]})
        scrape_until(gateway.url, lambda series: value(series, "vllm:request_success_total"))
        assert {name.split(":")[0] for name, _ in scrape(gateway.url)} == {"vllm"}
    with pytest.raises(ValueError, match="'vlm' is none of conch, triton, router, vllm, gen_ai"):
        Settings(metrics_names=("vlm",))


def test_an_engine_that_is_lost_is_told_as_down() -> None:
    backend = ScriptedBackend()
    with serving(backend) as gateway:
        assert value(scrape(gateway.url), "conch_engine_up", model="demo") == 1
        backend.lost = "demo is being started again"
        assert value(scrape(gateway.url), "conch_engine_up", model="demo") == 0
        backend.unavailable = "Triton does not respond"
        assert ("conch_engine_up", frozenset({("model", "demo")})) in scrape(gateway.url)


def test_gpus_are_there_where_nvml_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpus(monkeypatch, H100).counts_energy = False
    with serving(ScriptedBackend()) as gateway:
        series = scrape(gateway.url)
    of = {"gpu": "0", "gpu_name": H100[0]}
    assert value(series, "conch_gpu_utilization_ratio", **of) == 0.75
    assert value(series, "conch_gpu_memory_total_bytes", **of) == H100[1]
    assert value(series, "conch_gpu_power_watts", **of) == 350.5
    assert not any(name.startswith("conch_gpu_energy") for name, _ in series)  # what one does not report is absent


def test_the_energy_of_a_gpu_is_counted_and_a_driver_without_any_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpus(monkeypatch, H100)
    with serving(ScriptedBackend()) as gateway:
        assert value(scrape(gateway.url), "conch_gpu_energy_joules_total") == 1234.5
    install_gpus(monkeypatch, error=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with serving(ScriptedBackend()) as gateway:
        assert not any(name.startswith("conch_gpu") for name, _ in scrape(gateway.url))


def test_the_disk_of_the_store_and_the_version_are_told(tmp_path: Path) -> None:
    with serving(ScriptedBackend(), store=tmp_path / "store.db") as gateway:
        series = scrape(gateway.url)
    assert 0 < value(series, "conch_store_disk_free_bytes") <= value(series, "conch_store_disk_bytes")
    assert value(series, "conch_build_info") == 1


def test_the_end_of_a_certificate_is_what_openssl_says(tmp_path: Path) -> None:
    cert, command = tmp_path / "cert.pem", ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    command += ["-days", "9999", "-subj", "/CN=conch", "-keyout", str(tmp_path / "key.pem"), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    asked = ["openssl", "x509", "-in", str(cert), "-noout", "-enddate"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    end = datetime.strptime(said, "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert ends_at(cert) == end.timestamp()


def test_no_file_but_a_certificate_has_an_end(tmp_path: Path) -> None:
    for text in ("", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"):
        file = tmp_path / "cert.pem"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"certificate|padding"):
            ends_at(file)


def test_a_real_server_has_all_of_it_in_one_answer(stack: Stack) -> None:
    body = {"model": "replay", "messages": [HELLO], "max_tokens": 4}
    assert httpx.post(stack.gateway + CHAT, json=body).status_code == 200
    series = scrape(stack.gateway)
    assert value(series, "conch_engine_up", model="demo") == 1
    assert value(series, "nv_inference_request_success", model="replay_preprocess") > 0
    assert value(series, "nv_trt_llm_kv_cache_block_metrics", model="demo", kv_cache_block_type="tokens_per") == 32
    assert value(series, "nv_trt_llm_kv_cache_block_metrics", model="demo", kv_cache_block_type="max") > 0
    assert value(series, "nv_trt_llm_request_metrics", request_type="max", model="replay") > 0


def test_the_page_lists_exactly_what_is_exported() -> None:
    from gateway.metrics.page import table_of_series

    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert table_of_series() in page
    assert len({series.exposed for series in table.SERIES}) == len(table.SERIES)
