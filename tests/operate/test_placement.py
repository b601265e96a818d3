"""Engines side by side in a real Triton: the CPUs and threads that they use, instances, rate limits, cached answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from launch.descendants import command_line
from launch.health.stubs import stub_model
from tests.conftest import CONCH, KSERVE_KEY, ROOT, Stack, free_port, serving
from tests.launch.server import serving as serving_alone
from tests.serving import encoders
from tests.waiting import wait_for
from triton_repo.contract.api_key import KSERVE_KEY_HEADER

pytestmark = [
    pytest.mark.operate,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs"),
]

FIRST, SECOND, *_ = sorted(os.sched_getaffinity(0)) * 2
LONG_TEXTS = ["the quick brown fox jumps over the lazy dog " * 6] * 64  # as many as one call of the model takes
RUN_S = 3.0
ADMIN_KEY = "sk-admin-4471"
PLACEMENTS: Mapping[str, Mapping[str, Any]] = {
    "left": {"rate_limiter": {"resources": {"one": 1}}},
    "right": {"rate_limiter": {"resources": {"one": 1}}},
    "early": {"rate_limiter": {"resources": {"three": 1}}},
    "late": {"rate_limiter": {"resources": {"three": 1}, "priority": 4}},
    "both": {"rate_limiter": {"resources": {"two": 1}}},
    "sides": {"rate_limiter": {"resources": {"two": 1}}},
    "twins": {"cpus": [str(FIRST), str(SECOND)]},
}


def engine(directory: Path, built: Path, name: str, **sections: Mapping[str, Any]) -> str:
    """One like the engine in `built`, with the same model, another name, and more in its spec."""
    copy = directory / name
    shutil.copytree(built, copy, ignore=lambda _, names: {"model", "triton"} & set(names))
    (copy / "model").symlink_to((built / "model").resolve())
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest["spec"]["name"] = name
    for section, values in sections.items():
        manifest["spec"][section] = {**manifest["spec"].get(section, {}), **values}
    manifest["files"] = {file: size for file, size in manifest["files"].items() if not file.startswith("triton")}
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return str(copy)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    subprocess.run([str(CONCH), "build", "demo"], cwd=ROOT, check=True)
    minilm, *_ = map(Path, encoders.engines())
    directory = tmp_path_factory.mktemp("engines")
    demo = (ROOT / "engines" / "built" / "demo").resolve()
    return [
        engine(directory, demo, "first", serve={"num_threads": 1}, placement={"cpus": [str(FIRST)]}),
        engine(directory, demo, "second", serve={"num_threads": 1}, placement={"cpus": [str(SECOND)]}),
        *(engine(directory, minilm, name, placement=placement) for name, placement in PLACEMENTS.items()),
        engine(directory, minilm, "cached", embed={"response_cache_bytes": 1 << 20}),
    ]


@pytest.fixture(scope="module")
def large(engines: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that fits no machine."""
    return engine(tmp_path_factory.mktemp("large"), Path(engines[0]), "large", serve={"kv_cache_bytes": 1 << 50})


@pytest.fixture(scope="module")
def stack(engines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    log = tmp_path_factory.mktemp("placement") / "serve.log"
    with serving(*engines, "--rate-limit-resource", "two:2", log=log) as running:
        yield running


def stubs(stack: Stack, model: str) -> list[psutil.Process]:
    """The processes that serve a model, oldest first."""
    every = psutil.Process(stack.pid).children(recursive=True)
    return sorted(
        (each for each in every if stub_model(command_line(each.pid)) == model), key=psutil.Process.create_time
    )


def allowed_cpus(process: psutil.Process) -> set[frozenset[int]]:
    """Of all threads."""
    return {frozenset(os.sched_getaffinity(thread.id)) for thread in process.threads()}


def embed(stack: Stack, model: str, texts: list[str]) -> None:
    answer = httpx.post(f"{stack.gateway}/v1/embeddings", json={"model": model, "input": texts})
    assert answer.status_code == 200, answer.text


@contextmanager
def clients(stack: Stack, *models: str) -> Iterator[list[str]]:
    """Each sends one request after the other until the end of the block; then the models of all that were answered."""
    ended, answered = threading.Event(), list[str]()

    def send(model: str) -> None:
        while not ended.is_set():
            embed(stack, model, LONG_TEXTS)
            answered.append(model)

    threads = [threading.Thread(target=send, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def calls(stack: Stack, *models: str) -> tuple[int, float]:
    """How many calls of these models have ended, and how long they took together, in seconds, as Triton counts it."""
    urls = (f"{stack.triton_http}/v2/models/{model}/stats" for model in models)
    answers = [httpx.get(url, headers={KSERVE_KEY_HEADER: KSERVE_KEY}).json() for url in urls]
    ended = [size["compute_infer"] for answer in answers for size in answer["model_stats"][0]["batch_stats"]]
    return sum(each["count"] for each in ended), sum(each["ns"] for each in ended) / 1e9


def busy_share(stack: Stack, *models: str) -> float:
    """Of the models while clients never let them wait: 1 is always one of them, 2 always both."""
    num_before, before_s = calls(stack, *models)
    began_s = time.monotonic()
    with clients(stack, *models) as answered:
        time.sleep(RUN_S)
    wait_for(lambda: calls(stack, *models)[0] == num_before + len(answered))  # a call ends after its answers
    assert set(answered) == set(models)
    return (calls(stack, *models)[1] - before_s) / (time.monotonic() - began_s)


@pytest.mark.parametrize(("name", "cpu"), [("first", FIRST), ("second", SECOND)])
def test_an_engine_computes_on_its_own_cpus_alone(stack: Stack, name: str, cpu: int) -> None:
    body = {"model": name, "prompt": "Hello", "max_tokens": 64, "ignore_eos": True}
    assert httpx.post(f"{stack.gateway}/v1/completions", json=body).status_code == 200
    (process,) = stubs(stack, f"{name}_engine")
    assert allowed_cpus(process) == {frozenset((cpu,))}


def test_the_instances_of_an_encoder_are_processes_on_cpus_of_their_own_that_compute_at_once(stack: Stack) -> None:
    processes = stubs(stack, "twins")
    assert sorted(map(sorted, (cpus for each in processes for cpus in allowed_cpus(each)))) == [[FIRST], [SECOND]]
    together = 0
    with clients(stack, *["twins"] * 4):
        deadline = time.monotonic() + 60
        while together < 3 and time.monotonic() < deadline:
            before = [sum(each.cpu_times()[:2]) for each in processes]
            time.sleep(0.5)
            together += all(sum(each.cpu_times()[:2]) > was for each, was in zip(processes, before, strict=True))
    assert together == 3


def test_models_that_share_one_unit_of_a_resource_are_called_one_after_the_other(stack: Stack) -> None:
    assert busy_share(stack, "left", "right") <= 1


def test_of_models_that_wait_for_the_same_the_one_of_better_priority_has_more_turns(stack: Stack) -> None:
    with clients(stack, *["early", "late"] * 3) as answered:
        wait_for(lambda: len(answered) >= 12)
        early, late = map(answered[:12].count, ("early", "late"))
    assert 0 < 2 * late <= early, "four to one"


def test_an_engine_that_generates_does_not_wait_for_encoders_that_wait_for_each_other(stack: Stack) -> None:
    body = {"model": "first", "prompt": "Hello", "max_tokens": 2}
    for model in ("left", "right"):
        embed(stack, model, ["x"])  # until its first call an encoder comes before all others
    with clients(stack, "left", "right") as answered:
        wait_for(lambda: {*answered} == {"left", "right"})
        before = calls(stack, "left", "right")[0]
        for _ in range(40):
            assert httpx.post(f"{stack.gateway}/v1/completions", json=body).status_code == 200
        assert calls(stack, "left", "right")[0] - before < 10


def test_with_a_unit_for_each_they_are_called_at_once(stack: Stack) -> None:
    assert busy_share(stack, "both", "sides") > 1.2


def test_an_answer_that_triton_has_kept_is_not_computed_again(stack: Stack) -> None:
    def hits() -> float:
        return stack.engine_metric("nv_cache_num_hits_per_model", model="cached")

    embed(stack, "cached", ["a text that comes again"])
    before, computed = hits(), calls(stack, "cached")
    embed(stack, "cached", ["a text that comes again"])
    assert (hits() - before, calls(stack, "cached")) == (1, computed)


def test_an_instance_that_is_killed_is_replaced(stack: Stack) -> None:
    victim, _ = stubs(stack, "twins")
    victim.kill()
    wait_for(lambda: not victim.is_running() and len(stubs(stack, "twins")) == 2)
    wait_for(lambda: httpx.get(f"{stack.gateway}/health/ready").status_code == 200)
    url, body = f"{stack.gateway}/v1/embeddings", {"model": "twins", "input": ["x"]}
    wait_for(lambda: httpx.post(url, json=body).status_code == 200)
    assert {httpx.post(url, json=body).status_code for _ in range(8)} == {200}


def test_an_engine_that_does_not_fit_beside_one_that_serves_is_not_loaded(
    engines: list[str], large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCH_ADMIN_KEY", ADMIN_KEY)
    headers, ports = {"authorization": f"Bearer {ADMIN_KEY}"}, [free_port() for _ in range(4)]
    with serving_alone(Path(engines[0]), ports, "--available", large, runtime_directory=tmp_path) as server:
        rejected = httpx.post(f"{server.url}/v1/models/large/load", headers=headers)
        listed = httpx.get(f"{server.url}/admin/models", headers=headers).json()["data"]
    assert (rejected.status_code, rejected.json()["error"]["code"]) == (409, "model_does_not_fit")
    message = rejected.json()["error"]["message"]
    assert "engine large: does not fit the memory" in message
    assert "1125899.91 GB of KV cache), and " in message
    assert "GB are available beside first: lower serve.kv_cache_bytes" in message
    assert {"id": "large", "object": "model", "state": "unloaded"} in listed


def test_engines_that_do_not_fit_are_rejected_before_triton_starts(engines: list[str], large: str) -> None:
    argv = [str(CONCH), "serve", engines[0], large, "--port", str(free_port())]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    error = " ".join(done.stderr.split())
    assert "engine large: does not fit the memory" in error
    assert "GB are available beside first: lower serve.kv_cache_bytes" in error
