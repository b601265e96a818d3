"""The LoRA adapter that a request names, if it names one: it must be one of the engine's."""

from __future__ import annotations

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import ADAPTER_FIELD, Sampling


def check_adapter(sampling: Sampling, config: EngineConfig) -> None:
    """
    Raises:
        InvalidRequest: the engine has no such adapter.
    """
    name = sampling.lora_name
    if name is None:
        return
    lora = config.tensorrt_llm.lora if config.tensorrt_llm is not None else None
    if lora is None:
        raise UnsupportedParameter(f"{ADAPTER_FIELD}: this engine has no adapters", ADAPTER_FIELD)
    if name not in lora.adapters:
        raise InvalidRequest(f"{ADAPTER_FIELD} = {name}: must be one of {', '.join(lora.adapters)}", ADAPTER_FIELD)
