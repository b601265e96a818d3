"""The guide of a request: what its answer must look like, and whether the engine can follow such guides at all.

Whether the library that is to enforce a guide can read it takes longer to say: `guide_prover` does, before the engine
has it. In the compiled flow (TensorRT-LLM 1.2) it would make the iteration of the whole batch fail. Only its reading is
proved; to compile it takes the vocabulary.
"""

from __future__ import annotations

from typing import Final

from triton_repo.contract.capabilities import capabilities_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import GUIDE_FIELDS, Sampling

_TYPE, _GUIDE = GUIDE_FIELDS
# Under a complete guide only the end remains, and both of these forbid it.
_FORBIDDERS: Final = ("ignore_eos", "min_tokens")


def check_guide(sampling: Sampling, config: EngineConfig) -> None:
    """
    Raises:
        InvalidRequest: the guide is not one, or the engine cannot keep to it.
    """
    kind, guide = sampling.guided_decoding_guide_type, sampling.guided_decoding_guide
    if kind is None and guide is None:
        return
    allowed = guide_types(config)
    if not allowed:
        raise UnsupportedParameter(f"{_TYPE}: this engine has no guided decoding", _TYPE)
    if kind not in allowed:
        raise InvalidRequest(f"{_TYPE} = {kind}: must be one of {', '.join(allowed)}", _TYPE)
    if (kind == "json") != (guide is None):
        needs = "takes no" if kind == "json" else "needs a"
        raise InvalidRequest(f"{_GUIDE}: {_TYPE} = {kind} {needs} {_GUIDE}", _GUIDE)
    for name in _FORBIDDERS:
        if getattr(sampling, name):
            raise InvalidRequest(f"{name}: not possible beside {_TYPE}: the guide says when an answer may end", name)


def guide_types(config: EngineConfig) -> tuple[str, ...]:
    """The types of guides that the engine can follow."""
    settings = config.tensorrt_llm
    if settings is None or settings.guided_decoding_backend is None:
        return ()
    return capabilities_of(config.runtime, settings.flow).guides.get(settings.guided_decoding_backend, ())
