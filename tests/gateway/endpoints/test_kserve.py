"""KServe's API of the models beside the engines: who reaches which of them, and what never gets to Triton."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from gateway.answers.inference.models import Inference, ModelVersion
from gateway.dialects.kserve.request import Form, parse
from gateway.endpoints import kserve
from tests.gateway.echo_models import ENSEMBLE, SLOW, EchoModels
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, RequestError

ECHO = "/v2/models/echo/infer"
INPUT = {"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [[1, 2]]}


@pytest.fixture(scope="module")
def models() -> EchoModels:
    return EchoModels()


@pytest.fixture(scope="module")
def running(models: EchoModels) -> Iterator[Running]:
    settings: dict[str, Any] = {"other_models": ("echo", SLOW), "max_body_bytes": 2**20}
    with serving(ScriptedBackend(others=models), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=120) as client:
        yield client


def infer(client: httpx.Client, *inputs: Any, path: str = ECHO, **fields: Any) -> httpx.Response:
    return client.post(path, json={"inputs": [*inputs], **fields})


def error_of(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    (key, message), *rest = response.json().items()
    assert (key, rest) == ("error", [])
    return str(message)


def test_a_model_answers_in_json(client: httpx.Client) -> None:
    answer = infer(client, INPUT, id="mine").json()
    tensor = {"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}
    assert answer == {"model_name": "echo", "model_version": "1", "id": "mine", "outputs": [tensor]}


def test_a_model_is_described(client: httpx.Client, models: EchoModels) -> None:
    assert client.get("/v2").json()["name"] == "triton", "what NVIDIA's clients look for"
    unknown = client.get("/v2/models/none").json()["error"]
    assert unknown == "Request for unknown model: 'none' is not found"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/echo").json()["versions"] == ["1"]
    assert client.get("/v2/models/echo/versions/3").json()["versions"] == ["3"]
    assert client.get("/v2/models/echo/config").json()["max_batch_size"] == 8
    assert client.get("/v2/models/echo/stats").json()["model_stats"][0]["inference_count"] == len(models.asked)
    assert client.get("/v2/models/echo/ready").json() == {"name": "echo", "ready": True}
    models.ready = False
    assert error_of(client.get("/v2/models/echo/ready"), 503) == "model echo is not ready"
    models.ready = True


@pytest.mark.parametrize("binary", [True, False])
def test_nvidias_client_reads_what_it_sent(running: Running, *, binary: bool) -> None:
    client = InferenceServerClient(f"127.0.0.1:{running.port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("echo")
        assert client.get_model_metadata("echo")["name"] == "echo"
        arrays: dict[str, Any] = {
            "FP32": np.array([[0.5, -2.25]], np.float32),
            "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
            "BOOL": np.array([[True, False]]),
            "BYTES": np.array([["ä", ""]], np.object_),
        }
        inputs, outputs = [], []
        for datatype, array in arrays.items():
            inputs.append(InferInput(datatype, [1, 2], datatype).set_data_from_numpy(array, binary_data=binary))
            outputs.append(InferRequestedOutput(datatype, binary_data=binary))
        result = client.infer("echo", inputs, outputs=outputs, model_version="1", request_id="7")
        assert result.get_response()["id"] == "7"
        for datatype, array in arrays.items():
            got = result.as_numpy(datatype)
            texts = [each.decode() if isinstance(each, bytes) else each for each in got.ravel()]
            assert texts == [*array.ravel()]
    finally:
        client.close()


def test_an_engine_and_its_steps_are_not_reached(client: httpx.Client, models: EchoModels) -> None:
    num_asked = len(models.asked)
    for name in ("demo", "demo_engine", "demo_preprocess", "none", "echo%2F..%2Fdemo"):
        for end in ("", "/ready", "/config", "/stats"):
            error_of(client.get(f"/v2/models/{name}{end}"), 404)
        error_of(infer(client, INPUT, path=f"/v2/models/{name}/infer"), 404)
    assert len(models.asked) == num_asked


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/echo/load",
        "/v2/repository/models/demo/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/cudasharedmemory/status",
        "/v2/trace/setting",
        "/v2/logging",
        "/v2/models/echo/trace/setting",
        "/v2/models/echo/generate",
        "/v2/models/echo/versions/0x1/infer",
    ],
)
def test_what_controls_triton_is_not_there(client: httpx.Client, path: str) -> None:
    error_of(client.post(path, json={"inputs": [INPUT]}), 404)


def test_a_key_reaches_the_models_that_it_names(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    digests = {name: hashlib.sha256(f"sk-{name}".encode()).hexdigest() for name in ("one", "other", "busy")}
    keys.write_text(
        f"one {digests['one']} models=echo\nother {digests['other']} models=demo\n"
        f"busy {digests['busy']} requests_per_minute=1\n",
        encoding="utf-8",
    )
    with (
        serving(ScriptedBackend(others=EchoModels()), other_models=("echo",), api_keys_file=keys) as gateway,
        httpx.Client(base_url=gateway.url, timeout=120) as client,
    ):
        assert "Authorization: Bearer KEY" in error_of(infer(client, INPUT), 401)
        assert client.get("/v2/health/ready").status_code == 200
        client.headers["authorization"] = "Bearer sk-one"
        assert infer(client, INPUT).status_code == 200
        client.headers["authorization"] = "Bearer sk-other"
        error_of(infer(client, INPUT), 404)
        error_of(client.get("/v2/models/echo"), 404)
        client.headers["authorization"] = "Bearer sk-busy"
        assert infer(client, INPUT).status_code == 200
        limited = infer(client, INPUT)
        assert "1 requests per minute" in error_of(limited, 429)
        assert "retry-after" in limited.headers


@pytest.mark.parametrize("id", [7, "seven"])
def test_a_sequence_is_its_keys_own(tmp_path: Path, *, id: Any) -> None:
    keys, models = tmp_path / "keys", EchoModels()
    digests = [f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("ann", "bob")]
    keys.write_text("".join(digests), encoding="utf-8")
    with (
        serving(ScriptedBackend(others=models), other_models=("echo",), api_keys_file=keys) as gateway,
        httpx.Client(base_url=gateway.url, timeout=120) as client,
    ):
        for name in ("ann", "ann", "bob"):
            client.headers["authorization"] = f"Bearer {name}"
            assert infer(client, INPUT, parameters={"sequence_id": id, "sequence_start": True}).status_code == 200
    anns, again, bobs = (inference.parameters["sequence_id"] for inference in models.asked)
    assert anns == again != bobs
    assert {type(anns), type(bobs)} == {type(id)}
    assert all(inference.parameters["sequence_start"] is True for inference in models.asked)


def test_a_text_that_names_a_sequence_gets_the_one_length_that_triton_takes(
    client: httpx.Client, models: EchoModels
) -> None:
    for id in ("talk", "x" * 127):
        assert infer(client, INPUT, parameters={"sequence_id": id}).status_code == 200
        assert len(str(models.asked[-1].parameters["sequence_id"])) == 128
    assert infer(client, INPUT, parameters={"sequence_id": 7}).status_code == 200
    assert models.asked[-1].parameters["sequence_id"] == 7


@pytest.mark.parametrize("path", [ECHO, f"/v2/models/{ENSEMBLE}/infer"])
@pytest.mark.parametrize(("ids", "taken", "rejected"), [("TYPE_UINT64", 7, "seven"), ("TYPE_STRING", "seven", 7)])
def test_a_model_that_is_told_the_ids_of_its_sequences_gets_none_of_another_kind(
    path: str, ids: str, taken: Any, rejected: Any
) -> None:
    """Triton itself would end of it, and with it the requests to all engines."""
    models = EchoModels(sequence_ids=ids)
    with (
        serving(ScriptedBackend(others=models), other_models=("echo", ENSEMBLE)) as gateway,
        httpx.Client(base_url=gateway.url, timeout=120) as client,
    ):
        error = error_of(infer(client, INPUT, path=path, parameters={"sequence_id": rejected}), 400)
        assert error.startswith("parameters.sequence_id: must be a ")
        for parameters in ({"sequence_id": taken}, {"sequence_id": 0}, {}):
            assert infer(client, INPUT, path=path, parameters=parameters).status_code == 200
    assert len(models.asked) == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": [[1, 2, 3]]}, "are not those of shape [1, 2]"),
        ({"data": [1, 2, 3]}, "12 bytes are no INT32 tensor of shape [1, 2]"),
        ({"data": [[1, [2]]]}, "every element of INT32 must be int"),
        ({"data": [1, 2.5]}, "every element of INT32 must be int"),
        ({"data": [1, True]}, "every element of INT32 must be int"),
        ({"data": [1, 2**31]}, "inputs.0: data: "),
        ({"data": None}, "needs either data or the parameter binary_data_size"),
        ({"parameters": {"binary_data_size": 8}}, "needs either data or the parameter binary_data_size"),
        ({"datatype": "INT128"}, "datatype"),
        ({"datatype": "BF16"}, "JSON has no BF16"),
        ({"datatype": "FP32", "data": ["1", 2]}, "every element of FP32 must be float or int"),
        ({"shape": [-1, 2]}, "shape"),
        ({"shape": [2**62, 4], "data": []}, "bytes are no INT32 tensor"),
        ({"shape": [1] * 33}, "shape"),
        ({"parameters": {"shared_memory_region": "x"}}, "shared memory is not served"),
        ({"parameters": {"deep": {"a": 1}}}, "parameters"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_tensor_that_is_none_is_rejected(
    client: httpx.Client, models: EchoModels, changed: dict[str, Any], words: str
) -> None:
    num_asked = len(models.asked)
    assert words in error_of(infer(client, {**INPUT, **changed}), 400)
    assert len(models.asked) == num_asked


def test_outputs_in_shared_memory_are_rejected(client: httpx.Client) -> None:
    output = {"name": "x", "parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 8}}
    assert "shared memory is not served" in error_of(infer(client, INPUT, outputs=[output]), 400)


def with_bytes(client: httpx.Client, tensor: Any, binary: bytes, length: str | None = None) -> httpx.Response:
    content = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(content)) if length is None else length}
    return client.post(ECHO, content=content + binary, headers=headers)


def test_bytes_behind_the_json_are_what_their_tensor_says(client: httpx.Client) -> None:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 9}}
    good = b"\1\0\0\0a\0\0\0\0"
    assert with_bytes(client, tensor, good).json()["outputs"][0]["data"] == ["a", ""]
    for binary, words in (
        (b"\1\0\0\0a\xff\xff\xff\xff", "ends within an element"),
        (b"\2\0\0\0ab\0\0\0", "ends within the length"),
        (b"\5\0\0\0abcde", "bytes are no BYTES tensor of shape [2]"),
        (good[:-1], "8 bytes are left"),
        (good + b"!", "1 bytes behind the JSON belong to no input"),
    ):
        assert words in error_of(with_bytes(client, tensor, binary), 400)
    for length in ("1000", "-1", "x", "9" * 30):
        assert "inference-header-content-length" in error_of(with_bytes(client, tensor, good, length), 400)


def test_an_output_that_json_cannot_hold_says_so(client: httpx.Client) -> None:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    assert "ask for binary_data" in error_of(with_bytes(client, tensor, b"\1\0\0\0\xff"), 400)


def test_json_that_would_end_triton_ends_here(client: httpx.Client, models: EchoModels) -> None:
    num_asked = len(models.asked)
    for content in (b"[" * 250_000, b'{"inputs":' * 90_000, b'{"inputs":[{"data":' + b"[" * 250_000 + b"]" * 250_000):
        error_of(client.post(ECHO, content=content, headers={"content-type": "application/json"}), 400)
    assert len(models.asked) == num_asked


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/plain"}, b"{}", 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"{}", 415),
        ({"origin": "http://elsewhere.example"}, b"{}", 415),
        ({"content-type": "application/json"}, b"{", 400),
        ({"content-type": "application/json"}, b"[]", 400),
        ({"content-type": "application/json"}, b" " * 2**21, 413),
    ],
)
def test_a_body_that_is_none_is_rejected(
    client: httpx.Client, headers: dict[str, str], content: bytes, status: int
) -> None:
    error_of(client.post(ECHO, content=content, headers=headers), status)


@pytest.mark.parametrize(
    "error", [InvalidRequest("unexpected shape"), EngineUnavailable("not ready"), EngineFailed("the model failed")]
)
def test_what_a_model_says_has_kserves_form(client: httpx.Client, models: EchoModels, error: RequestError) -> None:
    models.error = error
    try:
        assert error_of(infer(client, INPUT), error.status) == error.message
    finally:
        models.error = None


def test_much_json_is_converted_beside_the_event_loop(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def seen(model: ModelVersion, fields: dict[str, Any], binary: bytes) -> tuple[Inference, Form]:
        threads.append(threading.get_ident())
        return parse(model, fields, binary)

    monkeypatch.setattr(kserve, "parse", seen)
    for num in (1, 2**18):
        body = infer(client, {"name": "x", "datatype": "UINT8", "shape": [num], "data": [1] * num})
        assert body.status_code == 200
    assert len(set(threads)) == 2


def test_a_client_that_leaves_ends_its_request(running: Running, models: EchoModels) -> None:
    with running.post_unread(f"/v2/models/{SLOW}/infer", json.dumps({"inputs": [INPUT]}).encode()) as client:
        await_true(lambda: any(one.model.name == SLOW for one in models.asked))
        client.shutdown(socket.SHUT_RDWR)
    await_true(lambda: len(models.cancelled) == 1)


def test_a_request_that_takes_longer_than_its_client_waits_ends(client: httpx.Client, models: EchoModels) -> None:
    num_cancelled = len(models.cancelled)
    response = client.post(f"/v2/models/{SLOW}/infer", json={"inputs": [INPUT]}, headers={"x-request-timeout": "0.05"})
    assert "not complete within" in error_of(response, 504)
    assert len(models.cancelled) == num_cancelled + 1


def test_a_server_that_goes_down_ends_what_is_open() -> None:
    models = EchoModels()
    with serving(ScriptedBackend(others=models), other_models=(SLOW,)) as running:
        client = running.post_unread(f"/v2/models/{SLOW}/infer", json.dumps({"inputs": [INPUT]}).encode())
        with client:
            await_true(lambda: len(models.asked) == 1)
            running.begin_shutdown()
            assert client.recv(100).startswith(b"HTTP/1.1 503")


def test_a_server_is_ready_with_the_models_that_it_must_have() -> None:
    models = EchoModels(ready=False)
    with (
        serving(ScriptedBackend(others=models), other_models=("echo",), required_models=("echo",)) as gateway,
        httpx.Client(base_url=gateway.url, timeout=120) as client,
    ):
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "model echo is not ready")
        assert error_of(client.get("/v2/health/ready"), 503) == "model echo is not ready"
        models.ready = True
        assert client.get("/health/ready").status_code == 200


def await_true(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
