"""Every command and snippet of the documentation runs, or says why it cannot here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from build_scripts.spec.reading import ENGINES
from tests.conftest import CONCH, Stack, free_port
from tests.docs.commands import verbs
from tests.docs.pages import NOT_RUN, ROOT, Example, all_examples, long_flags
from tests.waiting import wait_for

WAIT_S = 480
COPIED = ("Makefile", "pyproject.toml", "constraints.txt", "build_scripts", "triton_repo", "gateway", "launch", "bench")
PORT_FLAGS = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
CHECKPOINT = "path/to/checkpoint"  # of the reader's own
SHELL = all_examples("sh")
RUN = [example for example in SHELL if not example.mark]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout for the examples to write into, with a `.venv` that runs its code."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "built")
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, root / name, ignore=ignored) if source.is_dir() else shutil.copy(source, root / name)
    shutil.copytree(ENGINES, root / "engines", ignore=ignored)
    shutil.copytree(ENGINES / "demo" / "checkpoint", root / CHECKPOINT)
    commands = root / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, arguments in (("python", ""), ("conch", "-m launch.cli")):
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return root


def at(stack: Stack, text: str) -> str:
    """`text` with the addresses of the documentation as those of this server."""
    ports = {"9000": stack.gateway, "8000": stack.triton_http, "8002": stack.triton_metrics}
    text = re.sub(r"http://(?:127\.0\.0\.1|localhost):(9000|8000|8002)", lambda match: ports[match[1]], text)
    return text.replace("127.0.0.1:8001", stack.triton_grpc)


def matches(output: str, expected: str) -> bool:
    """Whether the output has these lines in their order, `…` being anything."""
    wanted = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", expected.strip()))
    return re.search(wanted, output, re.DOTALL) is not None


def run(command: list[str], cwd: Path) -> str:
    path = f"{cwd / '.venv' / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(cwd), "CONCH_KSERVE_KEY": "none-is-asked-for"}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=WAIT_S, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def serve(line: str, cwd: Path) -> None:
    """`conch serve …` until it is ready, on ports that are free."""
    argv = shlex.split(line)
    argv += [word for flag in PORT_FLAGS for word in (flag, str(free_port()))]
    log = cwd / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(argv, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: "Conch is ready" in log.read_text() or server.poll() is not None, log.read_text)
            assert server.poll() is None, log.read_text()
            server.send_signal(signal.SIGTERM)
            assert server.wait(WAIT_S) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("example", RUN, ids=str)
def test_a_shell_example_runs(example: Example, checkout: Path, stack: Stack) -> None:
    output = ""
    for line in example.lines:
        if re.match(r"(\S*/)?conch serve ", line):
            serve(line, checkout)
        else:
            output += run(["bash", "-euo", "pipefail", "-c", at(stack, line)], checkout)
    assert example.output is None or matches(output, example.output), output


@pytest.mark.parametrize("example", all_examples("python"), ids=str)
def test_a_python_example_runs(example: Example, checkout: Path, stack: Stack) -> None:
    output = run([sys.executable, "-c", at(stack, example.content)], checkout)
    assert example.output is None or matches(output, example.output), output


@pytest.mark.parametrize("example", [example for example in SHELL if example.mark], ids=str)
def test_an_example_that_cannot_run_here_says_why_and_names_what_exists(example: Example) -> None:
    assert example.mark in NOT_RUN
    for line in example.lines:
        words = shlex.split(line)
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        for word in words:
            if word.startswith(("docker/", "gateway/")):
                assert (ROOT / word).is_file(), line
            if word == "-m":
                module = words[words.index(word) + 1]
                assert module in {"pytest", "venv"} or (ROOT / module.replace(".", "/")).exists() or _is_file(module), (
                    line
                )
        if "conch" in words[:5]:
            verb, argument = words[words.index("conch") + 1 : words.index("conch") + 3]
            assert verb in verbs(), line
            if not argument.startswith("-"):
                assert (ENGINES / f"{argument}.toml").is_file(), line


def _is_file(module: str) -> bool:
    return (ROOT / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("example", SHELL, ids=str)
def test_every_flag_of_a_conch_command_exists(example: Example) -> None:
    for line in example.lines:
        if match := re.search(r"conch (\w+) (.*)", line):
            known = {name for option in verbs()[match[1]].params for name in (*option.opts, *option.secondary_opts)}
            assert set(long_flags(match[2])) <= known, line


def test_every_other_block_is_of_a_known_kind() -> None:
    known = {"sh", "python", "text", "toml", "json", "mermaid"}
    assert [str(example) for example in all_examples("", *("bash", "console")) if example.language not in known] == []


@pytest.mark.parametrize("example", all_examples("toml", "json"), ids=str)
def test_data_can_be_read(example: Example) -> None:
    assert tomllib.loads(example.content) if example.language == "toml" else json.loads(example.content)


def test_the_command_that_examples_use_is_installed() -> None:
    assert CONCH.is_file()
