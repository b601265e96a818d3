from __future__ import annotations

import os
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from launch.doctor.ports import Program, findings, listening
from launch.doctor.server import (
    RunningServer,
    check_health,
    check_key_file,
    check_triton,
    check_version,
    files_of,
    running_server,
)
from tests.conftest import free_port

LOADING = RunningServer("http://127.0.0.1:9000", "0.1.0", ready=False, reason="no engine is ready", program=None)


def test_where_nothing_runs_there_is_no_server() -> None:
    assert running_server(free_port()) is None


class Other(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "UP", "version": "3"}')

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_another_server_that_is_healthy_is_no_conch() -> None:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            assert running_server(server.server_port) is None
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_is_not_ready_says_why() -> None:
    finding = check_health(LOADING)
    assert (finding.severity, finding.found) == ("error", "http://127.0.0.1:9000 is not ready: no engine is ready")


def test_a_server_of_another_version_is_to_be_started_again() -> None:
    assert check_version("0.1.0", "0.2.0").severity == "warning"
    assert check_version("0.2.0", "0.2.0").found == "0.2.0"
    assert check_version(None, "0.2.0").found == "not told without CONCH_API_KEY"


def test_a_triton_that_is_too_old_for_the_models_is_an_error() -> None:
    old, new, unknown = map(check_triton, ("2.46.0", "2.51.0", None))
    assert (old.severity, old.found) == ("error", "2.46.0; the models of this version need 2.47 or later")
    assert (new.severity, new.found) == ("ok", "2.51.0")
    assert unknown.severity == "ok"
    assert check_triton("3.0").severity == "ok"


def test_files_of_keys_are_known_from_the_command_line() -> None:
    command = ("python", "-m", "gateway", "--api-keys-file", "/etc/keys", "--port", "9000", "--tls-key", "/etc/tls.pem")
    assert files_of(command) == {"--api-keys-file": Path("/etc/keys"), "--tls-key": Path("/etc/tls.pem")}


def test_a_file_of_keys_that_every_account_can_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch(0o600)
    assert check_key_file("--api-keys-file", file).severity == "ok"
    file.chmod(0o644)
    assert check_key_file("--api-keys-file", file).todo == f"chmod o= {file}"
    file.unlink()
    assert check_key_file("--api-keys-file", file).severity == "error"


def test_a_busy_port_is_told_with_the_program_that_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = listening(port)
        [finding] = findings({"--port": port}, {})
    assert program is not None
    assert program.pid == os.getpid()
    assert finding.severity == "error"
    assert finding.found.startswith(f"in use by process {os.getpid()} (")
    assert f"port {port} (--port) on 127.0.0.1 is already in use" in finding.todo


def test_a_long_command_line_is_cut() -> None:
    assert str(Program(7, ("x" * 100,))) == f"process 7 ({'x' * 60}…)"
    assert str(Program(7, ("python", "-c", "\nimport a\nb"))) == "process 7 (python -c import a b)"
