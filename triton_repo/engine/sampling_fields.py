"""The sampling fields that a Triton request sets: as tensors or as parameters, and under NVIDIA's other names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import LOGIT_BIAS_FIELD
from triton_repo.contract.tensors import GUIDE_TENSORS, SAMPLING_ALIASES, SAMPLING_PARAMETERS, SAMPLING_TENSORS

_AS_JSON: Final = ("stop_token_ids", LOGIT_BIAS_FIELD)  # they are lists and objects, which no parameter is
# How the Triton model of NVIDIA's LLM API names them. In the JSON of Triton's generate extension a name that is no
# input of the model is a parameter, which a model that does not know it would ignore.
_LLM_API_PREFIX: Final = "sampling_param_"
_LLM_API_NAMES: Final = {f"{_LLM_API_PREFIX}{tensor.name}": tensor.name for tensor in SAMPLING_TENSORS}


def sampling_fields(tensors: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """By their names in `Sampling`; the values are not checked.

    Args:
        tensors: name -> values of one row of the request.
        parameters: those of the request; unknown names are ignored.

    Raises:
        InvalidRequest: a field has two values under two names, or is no JSON.
        UnsupportedParameter: a field of NVIDIA's LLM API that has no such name here.
    """
    given = {name: parameters[name] for name in SAMPLING_PARAMETERS if name in parameters}
    given |= {tensor.name: tensors[tensor.name][0] for tensor in SAMPLING_TENSORS if tensor.name in tensors}
    given |= {
        tensor.name: tensors[tensor.name][0].decode(errors="replace")
        for tensor in GUIDE_TENSORS
        if tensor.name in tensors
    }
    for alias, name in SAMPLING_ALIASES.items():
        if alias.name in tensors:
            _add(given, alias.name, name, tensors[alias.name][0])
    for alias_name in parameters:
        if alias_name.startswith(_LLM_API_PREFIX):
            _add(given, alias_name, _of_llm_api(alias_name), parameters[alias_name])
    given |= {name: _json(given[name], name) for name in _AS_JSON if isinstance(given.get(name), str)}
    return given | _without_nucleus(given)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name}: not valid JSON: {error}", name) from error


def _add(given: dict[str, Any], alias: str, name: str, value: Any) -> None:
    if name in given:
        raise InvalidRequest(f"{alias}: another name of {name}, send only one of them", alias)
    given[name] = value


def _of_llm_api(alias: str) -> str:
    name = _LLM_API_NAMES.get(alias)
    if name is None:
        raise UnsupportedParameter(f"{alias}: not available; the names of this model are those of its metadata", alias)
    return name


def _without_nucleus(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a `top_p` of 0 means to TensorRT-LLM's kernels, for whose clients it is the default: `top_k` tokens alone,
    and the likeliest one where there is no `top_k` (`regularizeTopKTopP` beside its sampling kernels).
    """
    if given.get("top_p") != 0:
        return {}
    top_k = given.get("top_k", 0)
    return {"top_p": 1.0, "top_k": 1 if top_k in (0, -1) else top_k}
