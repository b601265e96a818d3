"""LoRA adapters of the CPU engine through the whole stack: as models, by name, all at once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from safetensors.numpy import save_file

from tests.conftest import ROOT, free_port
from tests.faults.processes import TRITON, process
from tests.launch.server import KEY, Server, serving
from tests.waiting import WAIT_S, wait_for

pytestmark = pytest.mark.operate

NAMES = ("demo", "demo:one", "demo:two")
ADMIN_KEY = "sk-admin-4471"
PROMPT = "Once upon a time"


def write_adapter(directory: Path, seed: int, rank: int = 4, layer: str = "model.layers.0", **more: Any) -> Path:
    """A random adapter of the demo checkpoint's attention."""
    random, tensors = np.random.default_rng(seed), {}
    for number in range(4):
        for module, out in (("q_proj", 192), ("v_proj", 96)):
            name = f"base_model.model.{layer.replace('0', str(number))}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.2, (rank, 192)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.2, (out, rank)).astype(np.float32)
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **more}
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With adapters of the spec, and in `loadable` those that may be loaded."""
    directory = tmp_path_factory.mktemp("adapters")
    (directory / "loadable").mkdir()
    for seed, name in enumerate(("one", "two", "loadable/three", "loadable/four")):
        write_adapter(directory / name, seed)
    return directory


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    adapters = "".join(f'{name} = "{directory / name}"\n' for name in ("one", "two"))
    lora = f"[build.lora]\nmax_loras = 3\nmax_rank = 8\n[build.lora.adapters]\n{adapters}"
    spec = directory / "demo.toml"
    model = ROOT / "engines/demo/checkpoint"
    build = f'name = "demo"\nmodel = "{model}"\n[build]\nmax_seq_len = 512\n{lora}'
    spec.write_text(f"{build}[sampling]\ntemperature = 0.0\n", encoding="utf-8")
    flags = ("--adapters-directory", str(directory / "loadable"), "--workers", "2")
    os.environ["CONCH_ADMIN_KEY"] = ADMIN_KEY
    try:
        with serving(spec, [free_port() for _ in range(4)], *flags) as running:
            yield running
    finally:
        del os.environ["CONCH_ADMIN_KEY"]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, timeout=WAIT_S, max_retries=0) as client:
        yield client


def whole(client: OpenAI, model: str, **more: Any) -> str:
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=32, **more)
    return str(answer.choices[0].text)


def streamed(client: OpenAI, model: str) -> str:
    chunks = client.completions.create(model=model, prompt=PROMPT, max_tokens=32, stream=True)
    return "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)


def test_each_adapter_answers_as_it_does_alone_however_many_run_beside_it(client: OpenAI) -> None:
    alone = {name: whole(client, name) for name in NAMES}
    assert len(set(alone.values())) == 3
    with ThreadPoolExecutor(12) as pool:
        answers = [(name, pool.submit(ask, client, name)) for name in NAMES * 2 for ask in (whole, streamed)]
        dropped = client.completions.create(model="demo:one", prompt=PROMPT, max_tokens=400, stream=True)
        next(iter(dropped))
        dropped.close()
        assert all(answer.result() == alone[name] for name, answer in answers)
    for adapter in ("one", "two"):
        assert whole(client, "demo", extra_body={"lora_name": adapter}) == alone[f"demo:{adapter}"]


def test_adapters_are_listed_and_measured_as_models(server: Server, client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} == set(NAMES)
    metrics = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {KEY}"}, timeout=WAIT_S).text
    assert 'max_lora="3",running_lora_adapters="demo:one,demo:two"' in metrics
    answer = httpx.post(
        f"{server.url}/v1/completions",
        json={"model": "demo:three", "prompt": PROMPT},
        headers={"authorization": f"Bearer {KEY}"},
        timeout=WAIT_S,
    )
    assert answer.status_code == 404


def order(server: Server, name: str, verb: str, **body: Any) -> httpx.Response:
    headers, url = {"authorization": f"Bearer {ADMIN_KEY}"}, f"{server.url}/v1/models/{name}/{verb}"
    return httpx.post(url, json=body or None, headers=headers, timeout=WAIT_S)


def load(server: Server, name: str, path: str) -> None:
    answer = order(server, name, "load", path=path)
    assert (answer.status_code, answer.json()) == (200, {"id": name, "object": "model", "state": "loaded"}), answer.text


def unload(server: Server, name: str) -> None:
    answer = order(server, name, "unload")
    assert answer.json() == {"id": name, "object": "model", "state": "unloaded"}, answer.text


def names(server: Server) -> set[str]:
    """As each of several connections hears them, since either worker may answer."""
    heard = [{model["id"] for model in answer.json()["data"]} for answer in lists(server)]
    assert heard == [heard[0]] * len(heard)
    return heard[0]


def lists(server: Server) -> list[httpx.Response]:
    url, headers = f"{server.url}/v1/models", {"authorization": f"Bearer {KEY}"}
    return [httpx.get(url, headers=headers, timeout=WAIT_S) for _ in range(6)]


def test_an_adapter_comes_and_goes_while_others_are_answered(server: Server, client: OpenAI) -> None:
    alone = {name: whole(client, name) for name in NAMES}
    with ThreadPoolExecutor(20) as pool:
        live = [pool.submit(streamed, client, "demo") for _ in range(10)]
        load(server, "demo:three", "three")
        live += [pool.submit(streamed, client, name) for name in NAMES]
        assert names(server) == {*NAMES, "demo:three"}
        three = whole(client, "demo:three")
        assert three not in alone.values()
        leaving = [
            client.completions.create(model="demo:three", prompt=PROMPT, max_tokens=32, stream=True) for _ in "ab"
        ]
        unload(server, "demo:three")
        assert ["".join(chunk.choices[0].text for chunk in each if chunk.choices) for each in leaving] == [three] * 2
        assert [answer.result() for answer in live] == [*[alone["demo"]] * 10, *alone.values()]
    assert names(server) == set(NAMES)
    with pytest.raises(NotFoundError):
        whole(client, "demo:three")
    with pytest.raises(BadRequestError, match="lora_name = three: must be one of one, two"):
        whole(client, "demo", extra_body={"lora_name": "three"})


def test_the_same_name_may_come_to_stand_for_another_directory(server: Server, client: OpenAI, directory: Path) -> None:
    load(server, "demo:mine", "three")
    three = whole(client, "demo:mine")
    load(server, "demo:mine", str(directory / "loadable/four"))
    four = whole(client, "demo:mine")
    unload(server, "demo:mine")
    load(server, "demo:four", "four")
    assert three != four == whole(client, "demo:four")
    unload(server, "demo:four")


def test_there_are_no_more_than_memory_is_reserved_for(server: Server) -> None:
    load(server, "demo:three", "three")
    answer = order(server, "demo:four", "load", path="four")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_does_not_fit")
    assert "has one, three, two, and room for no more: unload one, or raise build.lora.max_loras" in answer.text
    assert names(server) == {*NAMES, "demo:three"}
    unload(server, "demo:three")


@pytest.mark.parametrize(
    ("name", "verb", "path", "status", "complaint"),
    [
        ("demo:bad", "load", "../one", 400, "path = '../one': must lie below --adapters-directory"),
        ("demo:bad", "load", "away", 400, "path = 'away': must lie below --adapters-directory"),
        ("demo:bad", "load", "file-away", 400, "path = 'file-away': must lie below --adapters-directory"),
        ("demo:bad", "load", "/etc", 400, "path = '/etc': must lie below --adapters-directory"),
        ("demo:bad", "load", "none", 400, "must be a directory with adapter_config.json and adapter_model.safetensors"),
        ("demo:bad", "load", "dora", 400, "its use_dora = true cannot be served; must be absent"),
        ("demo:bad", "load", "high", 400, "its rank is 9; must be ≤ 8, build.lora.max_rank"),
        ("demo:bad", "load", "unknown", 400, "is no linear layer of this model as it is exported"),
        ("demo:bad", "load", None, 400, "path: must be the directory of the adapter"),
        ("demo", "load", "three", 400, "path: only an adapter, NAME:ADAPTER, is loaded from a directory"),
        ("demo:one", "load", "three", 400, "the engine was built with it"),
        ("demo:one", "unload", None, 400, "the engine was built with it"),
        ("demo:bad", "unload", None, 404, "conch serve has no such adapter"),
        ("none:bad", "load", "three", 404, "conch serve has no such adapter"),
    ],
)
def test_what_cannot_be_served_is_rejected_whole(  # noqa: PLR0917 - of one row
    server: Server, directory: Path, name: str, verb: str, path: str | None, status: int, complaint: str
) -> None:
    write_bad_ones(directory / "loadable")
    answer = order(server, name, verb, **({"path": path} if path else {}))
    assert answer.status_code == status, answer.text
    assert complaint in answer.json()["error"]["message"]
    assert names(server) == set(NAMES)


def write_bad_ones(loadable: Path) -> None:
    if (loadable / "dora").exists():
        return
    write_adapter(loadable / "dora", 1, use_dora=True)
    write_adapter(loadable / "high", 1, rank=9)
    write_adapter(loadable / "unknown", 1, layer="model.layers.9")
    (loadable / "away").symlink_to(loadable.parent / "one")
    (loadable / "file-away").mkdir()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (loadable / "file-away" / file).symlink_to(loadable.parent / "one" / file)


def test_an_adapter_is_there_again_once_triton_was_started_again(server: Server, client: OpenAI) -> None:
    load(server, "demo:three", "three")
    three = whole(client, "demo:three")
    os.kill(process(server, TRITON), signal.SIGKILL)
    wait_for(lambda: httpx.get(f"{server.url}/health/ready", timeout=WAIT_S).status_code != 200)
    wait_for(lambda: all(answer.status_code == 200 for answer in lists(server)))
    assert names(server) == {*NAMES, "demo:three"}
    assert whole(client, "demo:three") == three
    unload(server, "demo:three")
    assert names(server) == set(NAMES)
