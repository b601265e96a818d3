"""Which runtime an engine asks for. Each is imported only where it runs."""

from __future__ import annotations

from pathlib import Path

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import SpecError
from triton_repo.engine.runtimes.runtime import Runtime


def open_runtime(engine_directory: Path, config: EngineConfig) -> Runtime:
    """Load the engine. Takes as long as its weights take to load.

    Raises:
        SpecError: `config.runtime` is not one of `openvino`, `tensorrt_llm`, `replay`.
        LaunchError: this machine cannot run the engine.
    """
    model = EngineDirectory(engine_directory).model.path
    if config.runtime == "openvino":
        if config.prompt_logprobs:
            from triton_repo.engine.runtimes.openvino.scoring import ScoringOpenVinoRuntime

            return ScoringOpenVinoRuntime(model, config)
        from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime

        return OpenVinoRuntime(model, config)
    if config.runtime == "tensorrt_llm":
        from triton_repo.engine.runtimes.tensorrt_llm.opening import open_tensorrt_llm

        return open_tensorrt_llm(model, config)
    if config.runtime == "replay" and config.replay is not None:
        from triton_repo.engine.runtimes.replay import ReplayRuntime

        return ReplayRuntime(config.replay)
    allowed = "openvino, tensorrt_llm, replay (with its table)"
    raise SpecError(f"engine.json: runtime = {config.runtime!r}; allowed: {allowed}")
