from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.replay_engine import write_spec
from tests.launch.server import CONCH

HEAVY = ("torch", "transformers", "openvino", "openvino_genai", "openai", "fastapi", "pytriton")


def conch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(*CONCH, *arguments, **environment)


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "HOME": "/nonexistent", **environment},
    )


def test_help_names_every_verb() -> None:
    shown = conch("--help")
    assert shown.returncode == 0
    for verb in ("build", "serve", "chat", "doctor"):
        assert f" {verb} " in shown.stdout


def test_the_command_starts_without_the_heavy_packages() -> None:
    code = f"import sys, launch.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, timeout=480, check=True)
    assert loaded.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("serve", "no-such-engine"), {}, "no-such-engine: neither a spec file, nor a built engine"),
        (("serve",), {"CONCH_TRITONSERVER": "/no/such"}, "CONCH_TRITONSERVER = /no/such: this is not an executable"),
        (("serve", "no-such-engine"), {"CONCH_API_KEY": "abc\n"}, "CONCH_API_KEY = (not shown): no header can carry"),
        (
            ("serve", "no-such-engine"),
            {"CONCH_ADMIN_KEY": "abc\n"},
            "CONCH_ADMIN_KEY = (not shown): no header can carry",
        ),
        (("chat",), {"CONCH_API_KEY": "abc\n"}, "CONCH_API_KEY = (not shown): no header can carry"),
        (("serve", "--port", "8002"), {}, "--port and --triton-metrics-port are both 8002"),
        (("serve", "--port", "8000", "--expose-kserve"), {}, "--port and --triton-http-port are both 8000"),
        (("serve", "--workers", "0"), {}, "gateway setting workers = 0: Input should be greater than or equal to 1"),
        (("serve", "--keep-alive-timeout-s", "0"), {}, "gateway setting keep_alive_timeout_s = 0.0: "),
        (("serve", "--request-timeout-s", "-1"), {}, "gateway setting request_timeout_s = -1.0: "),
        (("serve", "--host", "nowhere.invalid"), {}, "cannot listen on nowhere.invalid"),
        (("chat", "--url", "http://127.0.0.1:9/v1"), {}, "no server answers at http://127.0.0.1:9/v1"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_status_2(
    arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    tried = conch(*arguments, **environment)
    assert tried.returncode == 2
    assert tried.stderr.count("\n") == 1, tried.stderr
    assert tried.stderr.startswith("conch: ")
    assert sentence in tried.stderr
    assert tried.stdout == ""


def test_one_engine_twice_is_rejected(tmp_path: Path, free_port: Callable[[], int]) -> None:
    spec = str(write_spec(tmp_path))
    ports = ["--port", str(free_port()), "--triton-http-port", str(free_port())]
    ports += ["--triton-grpc-port", str(free_port()), "--triton-metrics-port", str(free_port())]
    tried = conch("serve", spec, spec, *ports)
    assert tried.returncode == 2
    assert tried.stderr.endswith("conch: engine tale is named twice; each engine of one server needs its own name\n")


def test_a_value_outside_its_range_names_flag_and_range() -> None:
    tried = conch("serve", "--port", "70000")
    assert tried.returncode == 2
    assert "--port" in tried.stderr
    assert "1<=x<=65535" in tried.stderr


def test_a_verb_whose_packages_are_missing_says_so_and_the_others_work() -> None:
    block = "import sys; sys.modules['tritonclient'] = None; from launch.cli import main; sys.argv[0] = 'conch'; main()"
    build = run(sys.executable, "-c", block, "build", "--name", "x")
    assert build.returncode == 2
    assert build.stderr.startswith("conch: conch build needs the module tritonclient")
    assert build.stderr.endswith("[build]'\n")
    assert run(sys.executable, "-c", block, "chat", "--help").returncode == 0
