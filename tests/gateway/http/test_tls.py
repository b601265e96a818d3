"""A gateway with a certificate of its own."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from gateway import tls
from gateway.processes.secret_files import warn_if_others_read
from gateway.settings import Settings, load_settings
from tests.gateway.bodies import CHAT, HELLO
from tests.gateway.http.raw_client import LIVE, LIVE_ANSWER, connect
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.http_probe import http_status


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-made one for 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=conch", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def gateway(certificate: tuple[Path, Path]) -> Iterator[Running]:
    cert, key = certificate
    with serving(ScriptedBackend(), tls_cert=cert, tls_key=key) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_trust_the_certificate_are_answered(
    gateway: Running, certificate: tuple[Path, Path], stream: bool
) -> None:
    context = ssl.create_default_context(cafile=certificate[0])
    with httpx.Client(verify=context, base_url=gateway.url.replace("http://", "https://")) as client:
        for _ in range(3):
            answer = client.post(CHAT, json={"model": "demo", "messages": [HELLO], "stream": stream})
            assert answer.status_code == 200
            assert "world" in answer.text
        assert client.post("/nothing", content=b"x" * 100_000).status_code == 404


def test_clients_without_tls_get_nothing(gateway: Running) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=120) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"HTTP" not in client.recv(65536)


def test_a_client_that_does_not_finish_its_handshake_is_let_go(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 0.2)
    cert, key = certificate
    with (
        serving(ScriptedBackend(), tls_cert=cert, tls_key=key) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client,
    ):
        assert client.recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "half a ClientHello"])
def test_handshakes_are_bounded_in_number_as_connections_are(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 600)
    cert, key = certificate
    with serving(ScriptedBackend(), tls_cert=cert, tls_key=key, max_connections=3) as gateway, ExitStack() as opened:
        clients = [
            opened.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=60)) for _ in range(40)
        ]
        for client in clients:
            client.sendall(sent)
        for client in clients[:-3]:  # the oldest go for those that come
            assert closed_by_the_server(client)
        assert http_status(gateway.url.replace("http://", "https://") + "/health/live", timeout_s=60) == 200


def closed_by_the_server(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_a_request_that_comes_together_with_the_end_of_the_handshake_is_answered(
    gateway: Running, certificate: tuple[Path, Path]
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=certificate[0])
    client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with connect(gateway) as connection:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
        client.write(LIVE % b"connection: close\r\n")
        connection.sendall(outgoing.read())  # TLS 1.3: the client's Finished, and its request behind it
        answer = b""
        while LIVE_ANSWER not in answer:
            incoming.write(connection.recv(65536))
            with suppress(ssl.SSLWantReadError):  # a session ticket comes first
                answer += client.read(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_the_only_connection_that_there_may_be_is_answered(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serving(ScriptedBackend(), tls_cert=cert, tls_key=key, max_connections=1) as gateway:
        for _ in range(3):
            assert http_status(gateway.url.replace("http://", "https://") + "/health/live", timeout_s=120) == 200


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_of_keys_that_every_account_can_read_is_warned_of(
    certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture, mode: int, is_warned: bool
) -> None:
    cert, key = certificate
    key.chmod(mode)
    warn_if_others_read(Settings(tls_cert=cert, tls_key=key).secret_files)
    assert [f"tls_key = {key}" in line for line in caplog.messages] == [True] * is_warned


def test_a_health_check_of_this_machine_trusts_any_certificate(gateway: Running) -> None:
    assert http_status(gateway.url.replace("http://", "https://") + "/health/live", timeout_s=120) == 200


@pytest.mark.parametrize("names", [("tls_cert",), ("tls_key",), ("tls_key", "tls_cert")])
def test_a_certificate_that_cannot_be_used_is_rejected_before_the_start(
    certificate: tuple[Path, Path], names: tuple[str, ...]
) -> None:
    given = dict(zip(names, certificate, strict=False))  # the last of the three has them the wrong way round
    with pytest.raises(LaunchError, match=r"tls_cert.*tls_key"):
        load_settings(json.loads(json.dumps(given, default=str)), {})
