"""LoRA adapters of the CPU engine through the whole stack: as models, by name, all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import OpenAI
from safetensors.numpy import save_file

from tests.conftest import ROOT, free_port
from tests.launch.server import KEY, Server, serving
from tests.waiting import WAIT_S

pytestmark = pytest.mark.operate

NAMES = ("demo", "demo:one", "demo:two")
PROMPT = "Once upon a time"


def write_adapter(directory: Path, seed: int) -> Path:
    """A random adapter of the demo checkpoint's attention."""
    random, tensors = np.random.default_rng(seed), {}
    for number in range(4):
        for module, out in (("q_proj", 192), ("v_proj", 96)):
            name = f"base_model.model.model.layers.{number}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.2, (4, 192)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.2, (out, 4)).astype(np.float32)
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("adapters")
    adapters = "".join(f'{name} = "{write_adapter(directory / name, ord(name[0]))}"\n' for name in ("one", "two"))
    build = f"[build]\nmax_seq_len = 512\n[build.lora.adapters]\n{adapters}"
    spec = directory / "demo.toml"
    model = ROOT / "engines/demo/checkpoint"
    spec.write_text(f'name = "demo"\nmodel = "{model}"\n{build}[sampling]\ntemperature = 0.0\n', encoding="utf-8")
    with serving(spec, [free_port() for _ in range(4)]) as running:
        yield running


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
    assert 'max_lora="2",running_lora_adapters="demo:one,demo:two"' in metrics
    answer = httpx.post(
        f"{server.url}/v1/completions",
        json={"model": "demo:three", "prompt": PROMPT},
        headers={"authorization": f"Bearer {KEY}"},
        timeout=WAIT_S,
    )
    assert answer.status_code == 404
