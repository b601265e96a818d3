"""`conch models` against a real gateway whose engines are imagined."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from launch.models import list_models, load, show_states, unload
from tests.conftest import free_port
from tests.gateway.orders import orders_taken
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.model_orders import Order, Outcome


@pytest.fixture(scope="module")
def taken() -> list[Order]:
    return []


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, taken: list[Order]) -> Iterator[Running]:
    socket = tmp_path_factory.mktemp("run") / "orders"

    async def carry_out(order: Order) -> Outcome:
        taken.append(order)
        return Outcome(known=order.engine == "demo", failure="it is broken" if order.verb == "load" else None)

    with (
        orders_taken(socket, carry_out),
        serving(ScriptedBackend(), api_key="sk-client", admin_key="sk-operator", orders_socket=socket) as running,
    ):
        yield running


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-client")
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, "sk-operator")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_names_and_states_are_listed_at_either_form_of_the_address(gateway: Running, suffix: str) -> None:
    assert list_models(gateway.url + suffix).split() == ["demo", "generate", "demo"]
    assert show_states(gateway.url + suffix).split() == ["demo", "loaded"]


@pytest.mark.parametrize(("grace_s", "ordered_s"), [(60.0, 60.0), (0.25, 0.25), (0.0, 0.0), (None, 0.0)])
def test_the_grace_that_is_given_arrives(
    gateway: Running, taken: list[Order], grace_s: float | None, ordered_s: float
) -> None:
    assert unload(gateway.url, "demo@1", grace_s) == "demo: loaded"
    assert taken[-1] == Order("unload", "demo", ordered_s)


def test_what_the_server_says_of_an_order_is_the_error(gateway: Running) -> None:
    with pytest.raises(LaunchError, match=r"^model 'demo': load failed: it is broken$"):
        load(gateway.url, "demo")
    with pytest.raises(LaunchError, match=r"^model 'a/b c\?': conch serve has no such engine$"):
        load(gateway.url, "a/b c?")


@pytest.mark.parametrize("grace_s", [1e9, float("nan"), float("inf"), -1.0])
def test_a_grace_that_is_none_is_rejected(grace_s: float) -> None:
    with pytest.raises(LaunchError, match=rf"^--grace-s {re.escape(f'{grace_s:g}')}: must be from 0 to 86400$"):
        unload("http://127.0.0.1:9", "demo", grace_s)


def test_a_key_that_no_header_can_carry_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, "sk-secret\n")
    with pytest.raises(LaunchError, match=rf"^{ADMIN_KEY_VARIABLE} = \(not shown\): no header can carry this key"):
        show_states("http://127.0.0.1:9")


def test_a_key_that_does_not_open_it_is_named_by_its_variable(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, "sk-client")
    monkeypatch.delenv(API_KEY_VARIABLE)
    with pytest.raises(LaunchError, match=rf"a valid API key is required.*\({ADMIN_KEY_VARIABLE}\)$"):
        load(gateway.url, "demo")
    with pytest.raises(LaunchError, match=rf"a valid API key is required.*\({API_KEY_VARIABLE}\)$"):
        list_models(gateway.url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:http", "http://127.0.0.1:70000"])
def test_an_address_that_is_none_is_rejected(url: str) -> None:
    with pytest.raises(LaunchError, match=rf"^--url {url}: must be http://HOST:PORT or https://HOST:PORT"):
        show_states(url)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"<html>"), (500, b"[]"), *((200, body) for body in (b"", b"{}", b"[]", b'{"data": 5}', b'{"data": [7]}'))],
)
def test_a_server_that_is_not_conch_is_told(status: int, body: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Other)
    url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.handle_request)
    thread.start()
    with server:
        words = rf"^{url}/admin/models answers with status {status}, not as Conch does$"
        with pytest.raises(LaunchError, match=words):
            show_states(url)
        thread.join()


def test_a_server_that_is_not_there_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(LaunchError, match=rf"^no server answers at {url}$"):
        show_states(url)


def test_the_key_goes_to_no_server_whose_certificate_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=conch", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with serving(ScriptedBackend(), admin_key="sk-operator", tls_cert=certificate, tls_key=key) as gateway:
        url = gateway.url.replace("http://", "https://")
        with pytest.raises(LaunchError, match=r"certificate is not trusted: self-signed certificate; SSL_CERT_FILE"):
            show_states(url)
        monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(certificate))
        assert show_states(url).split() == ["demo", "loaded"]
