"""Who competes on which model. A server that cannot be started is a remark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from bench.bars.engines import ENGINES, LLAMA, llama_checkpoint
from bench.server import build, serving
from bench.versus.contestant import Contestant
from bench.versus.peer_servers import MAX_STREAMS, llama_server, vllm
from bench.versus.transformers_serve import transformers_serve
from build_scripts.source.checkpoint import resolve
from build_scripts.source.wheel import local
from build_scripts.spec.reading import ENGINES as SPECS
from build_scripts.spec.reading import read_spec
from triton_repo.contract.errors import BenchError, BuildError

Field = Callable[[ExitStack, list[str]], list[Contestant]]  # takes the remarks, to which it adds

_FLOAT: Final = str(ENGINES / "llama-90m-float.toml")
_REAL: Final = "smollm2"


def llama_90m(stack: ExitStack, remarks: list[str]) -> list[Contestant]:
    """A generated Llama of 90 million parameters: Conch in float32 and int8, `transformers serve` in float32."""
    checkpoint = llama_checkpoint()
    build(_FLOAT)
    build(LLAMA)
    conch = stack.enter_context(serving(_FLOAT, LLAMA))
    contestants = [
        Contestant("conch, float32", conch.target, "llama-90m-float", conch.pid),
        Contestant("conch, int8", conch.target, "llama-90m", conch.pid),
    ]
    return contestants + _enter(stack, remarks, lambda: transformers_serve(checkpoint))


def smollm2(stack: ExitStack, remarks: list[str]) -> list[Contestant]:
    """SmolLM2-135M: Conch in float32 and int8, vLLM in float32 from the same weights, llama-server in their 4 bits."""
    model = read_spec(SPECS / f"{_REAL}.toml").model
    try:
        gguf = Path(local(model))
        checkpoint = stack.enter_context(resolve(model, SPECS)).directory
    except BuildError as error:
        raise BenchError(str(error)) from error
    conch = stack.enter_context(serving(*(_build(_REAL, kind) for kind in ("none", "int8"))))
    contestants = [
        Contestant(f"conch, {said}", conch.target, f"{_REAL}-{kind}", conch.pid, ignore_eos=True)
        for kind, said in (("none", "float32"), ("int8", "int8"))
    ]
    for start in (lambda: vllm(checkpoint), lambda: llama_server(gguf)):
        contestants += _enter(stack, remarks, start)
    return contestants


FIELDS: Final[Mapping[str, Field]] = {"llama-90m": llama_90m, "smollm2": smollm2}


def _build(spec: str, quantization: str) -> str:
    """The engine of a spec with other weights, for as many streams as its peers are told to have."""
    name = f"{spec}-{quantization}"
    built = ENGINES / "built"
    sizes = ("--max-batch-size", str(MAX_STREAMS))
    build(spec, "--name", name, "--quantization", quantization, *sizes, "--output-dir", str(built))
    return str(built / name)


def _enter(
    stack: ExitStack, remarks: list[str], start: Callable[[], AbstractContextManager[Contestant]]
) -> list[Contestant]:
    try:
        return [stack.enter_context(start())]
    except BenchError as error:
        remarks.append(str(error))
        return []
