"""Who reaches Triton's own API: over a real tritonserver, as a local user or a web page would try."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from launch.descendants import PROC, marked_processes
from launch.kserve import Exposure, triton_access
from launch.service import Service
from tests.launch.conftest import Running, until
from tests.launch.echo_triton import KSERVE_KEY, MakeTriton, address, processes
from tests.launch.server import listening_ports
from triton_repo.contract.api_key import KSERVE_KEY_HEADER, KSERVE_KEY_METADATA, KSERVE_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.http_probe import http_status

NESTED = b"[" * 250_000  # ends Triton 2.51 where it is parsed
REGION = {"key": "/conch_region", "offset": 0, "byte_size": 1}
CONTROL = (
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/x/register"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/echo/load"),
    ("POST", "/v2/logging"),
    ("POST", "/v2/trace/setting"),
    ("POST", "/v2/models/echo/trace/setting"),
)
INFERENCE = (
    ("POST", "/v2/models/echo/infer"),
    ("POST", "/v2/models/echo/versions/1/infer"),
    ("POST", "/v2/models/echo/generate"),
    ("POST", "/v2/models/echo/generate_stream"),
    ("GET", "/v2/models/echo/config"),
    ("GET", "/v2/models/echo/stats"),
    ("GET", "/v2/models/stats"),
    ("GET", "/v2/models/echo"),
    ("GET", "/v2"),
)


def metrics_port(triton: Service) -> int:
    return int(next(word for word in triton.argv if word.startswith("--metrics-port=")).partition("=")[2])


def grpc_port(triton: Service) -> int:
    return int(next(word for word in triton.argv if word.startswith("--grpc-port=")).partition("=")[2])


def command_lines(triton: Service) -> bytes:
    return b"".join((PROC / str(pid) / "cmdline").read_bytes() for pid in marked_processes(triton.mark))


def chunked(content: bytes) -> Any:
    return (content[at : at + 1000] for at in range(0, len(content), 1000))


@pytest.mark.asyncio
async def test_by_default_triton_has_no_port_but_that_of_metrics(running: Running, make_triton: MakeTriton) -> None:
    triton = make_triton()
    async with running(triton):
        assert listening_ports(marked_processes(triton.mark)) == {metrics_port(triton)}
        metrics = f"http://127.0.0.1:{metrics_port(triton)}"
        assert httpx.get(f"{metrics}/metrics").status_code == 200
        for path in ("/metrics", "/v2/repository/index", "/v2/models/echo/infer"):
            assert httpx.post(metrics + path, content=NESTED).status_code >= 400
        assert {path.exists() for path in triton.sockets} == {True}
        assert http_status(triton.live_url) == 200


@pytest.mark.asyncio
async def test_on_ports_every_api_but_health_needs_the_key(running: Running, make_triton: MakeTriton) -> None:
    triton = make_triton(exposed=True)
    url = address(triton)
    async with running(triton):
        await until(lambda: sorted(processes(triton)) == ["server", "stub"])
        before = processes(triton)
        for headers in ({}, {"host": "evil.example"}, {KSERVE_KEY_HEADER: "wrong"}, {KSERVE_KEY_HEADER: ""}):
            for method, path in (*CONTROL, *INFERENCE):
                bodies = (NESTED, chunked(NESTED)) if method == "POST" else (None,)
                for content in bodies:
                    answer = httpx.request(method, url + path, content=content, headers=headers)
                    assert answer.status_code == 403, (method, path, answer.text)
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        index = httpx.post(f"{url}/v2/repository/index", headers={KSERVE_KEY_HEADER: KSERVE_KEY})
        assert [model["name"] for model in index.json()] == ["echo"]
        assert processes(triton) == before
        assert KSERVE_KEY.encode() not in command_lines(triton)


def grpc_calls(stub: Any, metadata: tuple[tuple[str, str], ...]) -> dict[str, Callable[[], Any]]:
    requests = {
        "SystemSharedMemoryRegister": pb.SystemSharedMemoryRegisterRequest(name="x", **REGION),
        "SystemSharedMemoryStatus": pb.SystemSharedMemoryStatusRequest(),
        "CudaSharedMemoryStatus": pb.CudaSharedMemoryStatusRequest(),
        "RepositoryIndex": pb.RepositoryIndexRequest(),
        "RepositoryModelLoad": pb.RepositoryModelLoadRequest(model_name="echo"),
        "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name="echo"),
        "LogSettings": pb.LogSettingsRequest(),
        "TraceSetting": pb.TraceSettingRequest(),
        "ModelInfer": pb.ModelInferRequest(model_name="echo"),
        "ModelConfig": pb.ModelConfigRequest(name="echo"),
        "ModelMetadata": pb.ModelMetadataRequest(name="echo"),
        "ModelStatistics": pb.ModelStatisticsRequest(name="echo"),
        "ServerMetadata": pb.ServerMetadataRequest(),
    }
    calls: dict[str, Callable[[], Any]] = {
        name: lambda name=name, request=request: getattr(stub, name)(request, metadata=metadata)  # type: ignore[misc]
        for name, request in requests.items()
    }
    stream = [pb.ModelInferRequest(model_name="echo")]
    calls["ModelStreamInfer"] = lambda: list(stub.ModelStreamInfer(iter(stream), metadata=metadata))
    return calls


def rejection(call: Callable[[], Any]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.details())
    return ""


@pytest.mark.asyncio
async def test_on_ports_every_call_of_grpc_needs_the_key(running: Running, make_triton: MakeTriton) -> None:
    triton = make_triton(exposed=True)
    async with running(triton):
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port(triton)}") as channel:
            stub = GRPCInferenceServiceStub(channel)
            for metadata in ((), ((KSERVE_KEY_METADATA, "wrong"),), ((KSERVE_KEY_HEADER, KSERVE_KEY),)):
                for name, call in grpc_calls(stub, metadata).items():
                    assert rejection(call).startswith("This protocol is restricted"), name
            assert stub.ServerLive(pb.ServerLiveRequest()).live
            given = grpc_calls(stub, ((KSERVE_KEY_METADATA, KSERVE_KEY),))
            assert [model.name for model in given["RepositoryIndex"]().models] == ["echo"]


@pytest.mark.asyncio
async def test_without_a_key_inference_is_open_and_control_is_not(running: Running, make_triton: MakeTriton) -> None:
    triton = make_triton(exposed=True, without_key=True)
    url = address(triton)
    async with running(triton):
        for method, path in CONTROL:
            content = NESTED if method == "POST" else None
            assert httpx.request(method, url + path, content=content).status_code == 403, path
        assert httpx.get(f"{url}/v2/models/echo/config").json()["name"] == "echo"
        assert httpx.post(f"{url}/v2/models/echo/infer", json={"inputs": []}).status_code == 501  # decoupled
        assert KSERVE_KEY.encode() not in command_lines(triton)


@pytest.mark.parametrize("key", ["short", "with space and length", "colon:and=equals-sign", "é" * 20, "a" * 129])
def test_a_key_that_triton_cannot_be_given_is_rejected_and_not_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(
        LaunchError, match=r"^CONCH_KSERVE_KEY = \(not shown\): allowed are 16 to 128 letters"
    ) as raised:
        triton_access(Exposure(1, 2, exposed=True), tmp_path, {KSERVE_KEY_VARIABLE: key})
    assert key not in str(raised.value)


def test_the_key_is_random_unless_it_is_given_and_in_a_file_of_its_user_alone(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        access = triton_access(Exposure(1, 2, exposed=True), tmp_path / name, {})
        file = tmp_path / name / "kserve-key"
        assert file.read_text(encoding="utf-8") == access.key
        assert file.stat().st_mode & 0o077 == 0
        assert str(file) in access.announcement
        assert access.key
        assert access.key not in "".join((*access.arguments, access.announcement))
        keys.add(access.key)
    assert len(keys) == 2
    given = triton_access(Exposure(1, 2, exposed=True, without_key=True), tmp_path, {KSERVE_KEY_VARIABLE: KSERVE_KEY})
    assert given.key == KSERVE_KEY
    assert not (tmp_path / "kserve-key").exists()


def test_no_key_goes_with_no_ports() -> None:
    with pytest.raises(LaunchError, match=r"^--kserve-without-key: only with --expose-kserve$"):
        triton_access(Exposure(1, 2, without_key=True), Path("/run"), {})


@pytest.mark.parametrize("flags", [{"exposed": False}, {"exposed": True, "without_key": True}])
def test_only_who_has_the_key_gets_in_from_another_machine(flags: dict[str, bool], tmp_path: Path) -> None:
    with pytest.raises(
        LaunchError, match=r"^--kserve-host = 0\.0\.0\.0: only with --expose-kserve, and not without a key"
    ):
        triton_access(Exposure(1, 2, host="0.0.0.0", **flags), tmp_path, {})


def test_triton_on_every_address_is_reached_on_loopback(tmp_path: Path) -> None:
    access = triton_access(Exposure(1, 2, exposed=True, host="0.0.0.0"), tmp_path, {})
    assert (access.http, access.grpc) == ("http://127.0.0.1:1", "127.0.0.1:2")
    assert "--grpc-address=0.0.0.0" in access.arguments


def test_a_directory_whose_path_is_too_long_for_a_socket_is_rejected(tmp_path: Path) -> None:
    directory = Path("/" + "d" * 101)
    with pytest.raises(LaunchError, match=r"too long for sockets; set XDG_RUNTIME_DIR to a shorter one$"):
        triton_access(Exposure(1, 2), directory, {})
    longest = tmp_path / ("d" * (107 - len(f"{tmp_path}//grpc:1")))
    longest.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(triton_access(Exposure(1, 2), longest, {}).sockets[1]))
