"""How a checkpoint for TensorRT-LLM's PyTorch flow is quantized already, as far as it says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.source.checkpoint import MODELOPT_CONFIG, Checkpoint
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS
from build_scripts.weights.strict_json import parse_object

_BY_ALGORITHM: Final = {how.algorithm: name for name, how in QUANTIZATIONS.items() if how.algorithm is not None}


def stored_quantization(checkpoint: Checkpoint, config: Mapping[str, Any]) -> str | None:
    """The one of QUANTIZATIONS that the weights of `checkpoint` are in; None where it is none of them.

    Raises:
        BuildError: ModelOpt's file is no JSON object.
    """
    file = checkpoint.directory / MODELOPT_CONFIG
    modelopt = parse_object(file.read_bytes(), str(file)).get("quantization") if file.is_file() else None
    section = modelopt or config.get("quantization_config")
    if not section:
        return "none"
    values = section if isinstance(section, dict) else {}
    algorithm = values.get("quant_algo") or values.get("quant_method")
    return _BY_ALGORITHM.get(algorithm.upper()) if isinstance(algorithm, str) else None
