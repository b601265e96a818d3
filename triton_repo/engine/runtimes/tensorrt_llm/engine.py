"""Whether this machine can run an engine of TensorRT-LLM: a compiled one is bound to a version and a kind of GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.distribution import installed_version
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import COMPILED_BY, ModelDirectory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.gpu import installed_gpus
from triton_repo.contract.llm_api import SUPPORTED, LlmApi, llm_api_of
from triton_repo.engine.runtimes.tensorrt_llm.arguments import settings_of

_ELSEWHERE: Final = "serve it in one of the images of docs/gpu.md"


@dataclass(frozen=True, slots=True)
class Installed:
    """What this machine has; None is unknown. `capability` is the compute capability of its GPUs, such as `9.0`."""

    tensorrt_llm: str | None
    capability: str | None


def installed() -> Installed:
    capability = next((gpu.compute_capability for gpu in installed_gpus().devices), None)
    return Installed(installed_version("tensorrt_llm"), capability)


def check_engine(model_directory: Path, config: EngineConfig, found: Installed) -> None:
    """
    Raises:
        LaunchError: the engine in `model_directory` cannot run here, in one sentence with the remedy.
    """
    error = engine_error(model_directory, config, found)
    if error is not None:
        raise LaunchError(f"engine {config.name} {error}")


def engine_error(model_directory: Path, config: EngineConfig, found: Installed) -> str | None:
    """Why the engine cannot run where `found` is installed, as the end of a sentence."""
    if found.tensorrt_llm is None:
        return f"needs TensorRT-LLM, which is not installed here: {_ELSEWHERE}"
    api = llm_api_of(found.tensorrt_llm)
    if api is None:
        return f"runs on TensorRT-LLM {SUPPORTED}, and this is {found.tensorrt_llm}: {_ELSEWHERE}"
    return _error_on(api, model_directory, config, found)


def _error_on(api: LlmApi, model_directory: Path, config: EngineConfig, found: Installed) -> str | None:
    if settings_of(config).flow == "pytorch":
        checkpoint = ModelDirectory(model_directory).checkpoint
        return None if (checkpoint / "config.json").is_file() else f"has no checkpoint in {checkpoint}: build it again"
    if api != "1.2":
        needs = f"is a compiled one, which needs TensorRT-LLM 1.2.1, and this is {found.tensorrt_llm}"
        return f"{needs}: {_ELSEWHERE}, or build it with build.flow = pytorch"
    engine = ModelDirectory(model_directory).compiled
    if not (engine / "config.json").is_file():
        return "is not compiled yet: conch build prints the command that compiles it on a GPU host"
    otherwise = compiled_otherwise(engine, found)
    if otherwise is not None:
        return f"was compiled {otherwise}: compile it again here (conch build), or serve it where it was compiled"
    return _incomplete(engine)


def compiled_otherwise(engine: Path, found: Installed) -> str | None:
    """By which version or for which GPUs the files in `engine` were compiled; None if `found` has the same."""
    version = _json(engine / "config.json").get("version")
    if version != found.tensorrt_llm:
        return f"by TensorRT-LLM {version}, and this is {found.tensorrt_llm}"
    capability = _json(engine / COMPILED_BY).get("capability")
    if None not in (capability, found.capability) and capability != found.capability:
        return f"for GPUs of compute capability {capability}, and these are of {found.capability}"
    return None


def _incomplete(engine: Path) -> str | None:
    ranks = _json(engine / "config.json").get("pretrained_config", {}).get("mapping", {}).get("world_size", 1)
    missing = [f"rank{rank}.engine" for rank in range(ranks) if not (engine / f"rank{rank}.engine").is_file()]
    return f"lacks {', '.join(missing)} in {engine}: compile it again" if missing else None


def _json(file: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
