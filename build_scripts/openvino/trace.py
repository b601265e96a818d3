"""transformers model -> OpenVINO IR with its KV cache as state.

1. By optimum-intel, for architectures that it knows. Its upper bounds on transformers' version are lifted: they say
   what its authors have tried, and whether an export is right is found out by comparing it (`verify/`).
2. As any decoder (decoder.py), where optimum-intel does not know the architecture, fails on it, or exports attention
   that the pipeline does not recognize (eager_attention.py).
3. As that in float32, where a model in half precision mixes dtypes, which OpenVINO cannot trace.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from build_scripts.openvino.eager_attention import computes_attention_itself

logger = logging.getLogger(__name__)

_TASK: Final = "text-generation"
_FAILURES: Final = (AttributeError, ImportError, IndexError, KeyError, RuntimeError, TypeError, ValueError)

Way = tuple[str, Callable[[Any, Path], None]]


def trace(model: Any, output: Path) -> str:
    """Write the IR and its configuration files into the new directory `output`; returns by which way.

    Raises:
        ValueError: it cannot be exported by any; says why.
    """
    failure: Exception = ValueError("no way")
    for name, way in _ways(model):
        try:
            way(model, output)
        except _FAILURES as error:
            logger.exception("%s cannot be exported: %s", type(model).__name__, name)
            failure = error
            shutil.rmtree(output, ignore_errors=True)
            _unpatch(model)
        else:
            return name
    raise ValueError(f"{type(model).__name__} cannot be exported: {_first_sentence(failure)}") from failure


def _ways(model: Any) -> Iterator[Way]:
    if _is_known(model.config.model_type) and not computes_attention_itself(model):
        yield "optimum-intel", _export
    yield "decoder", _export_as_decoder
    if not _is_float32(model):
        yield "decoder, in float32", lambda model, output: _export_as_decoder(model.float(), output)


def _is_known(model_type: str) -> bool:
    from optimum.exporters.openvino import model_configs
    from optimum.exporters.tasks import TasksManager

    for value in vars(model_configs).values():
        if isinstance(value, type) and hasattr(value, "MAX_TRANSFORMERS_VERSION"):
            value.MAX_TRANSFORMERS_VERSION = None
    return model_type in TasksManager._SUPPORTED_MODEL_TYPE


def _export_as_decoder(model: Any, output: Path) -> None:
    from optimum.exporters.openvino.convert import save_config

    from build_scripts.openvino.decoder import decoder_config

    config, model_type = decoder_config(model, _TASK), model.config.model_type
    model.config.model_type = "decoder"  # a name that optimum-intel knows nothing of: it does what `config` says
    try:
        _export(model, output, config)
    finally:
        model.config.model_type = model_type
    save_config(model.config, output)


def _export(model: Any, output: Path, config: Any = None) -> None:
    from optimum.exporters.openvino import export_from_model
    from optimum.intel.openvino import OVConfig

    _part_shared_buffers(model)
    export_from_model(
        model,
        output,
        task=f"{_TASK}-with-past",
        stateful=True,
        patch_16bit_model=not _is_float32(model),
        ov_config=OVConfig(dtype="fp32"),
        custom_export_configs=None if config is None else {"model": config},
    )


def _part_shared_buffers(model: Any) -> None:
    """A model that has run may hold one buffer under two names (longrope's frequencies): that cannot be traced."""
    seen: set[int] = set()
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and id(buffer) in seen:
                module._buffers[name] = buffer.clone()
            seen.add(id(module._buffers[name]))


def _is_float32(model: Any) -> bool:
    return str(model.dtype) == "torch.float32"


def _unpatch(model: Any) -> None:
    """A conversion that fails leaves its patches of 16-bit modules behind."""
    from openvino.frontend.pytorch.patch_model import unpatch_model

    unpatch_model(model, "_openvino_module_extension_patch_orig_forward")


def _first_sentence(error: Exception) -> str:
    """OpenVINO wraps what tracing raises into a page of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Couldn't get TorchScript module", "Exception:"))]
    return next(iter(told or lines), type(error).__name__)
