"""Clients that are tried without rows of a table: the example of LangChain, and one of NVIDIA's ensemble."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from build_scripts.spec.reading import ENGINES
from tests.conformance.clients import Client
from tests.conformance.environments import environment_of
from tests.conftest import ROOT, Stack, serving

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]

LANGCHAIN = Client("LangChain", str(ROOT / "examples" / "clients" / "langchain_chat.py"), "langchain")
NVIDIA_TRITON = Client("LlamaIndex with NVIDIA Triton", "with_nvidia_triton.py", "nvidia-triton")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The demo under its own name, and under the one that NVIDIA's clients ask for."""
    directory: Path = tmp_path_factory.mktemp("examples")
    text = (ENGINES / "demo.toml").read_text(encoding="utf-8").replace('name = "demo"', 'name = "ensemble"')
    spec = directory / "ensemble.toml"
    spec.write_text(text.replace("demo/checkpoint", str(ENGINES / "demo" / "checkpoint")), encoding="utf-8")
    with serving("demo", str(spec), log=directory / "serve.log") as running:
        yield running


def test_the_example_of_langchain_prints_an_answer_a_stream_and_an_object(stack: Stack) -> None:
    done = environment_of(LANGCHAIN).run(LANGCHAIN, {"CONCH_URL": stack.gateway, "CONCH_MODEL": "demo"})
    assert done.returncode == 0, done.stderr
    whole, streamed, parsed = done.stdout.splitlines()
    assert whole == streamed
    assert whole.startswith("Conch turns")
    assert re.fullmatch(r"name='.*' age=\d+", parsed)


def test_a_client_of_nvidias_ensemble_gets_whole_and_streamed_answers(stack: Stack) -> None:
    done = environment_of(NVIDIA_TRITON).run(NVIDIA_TRITON, {"CONCH_TRITON_GRPC": stack.triton_grpc})
    assert done.returncode == 0, done.stderr
    whole, streamed = done.stdout.splitlines()
    assert whole
    assert streamed == whole
