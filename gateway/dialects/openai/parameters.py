"""Parameters that clients know from OpenAI and vLLM and that do not work here: refused by name, or ignored aloud.

Refused is what would change the answer; a value that asks for nothing (null, an empty list, the default) passes.
Whatever else a body holds is ignored, and the answer's header `x-ignored-parameters` names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from gateway.dialects.openai.requests import StreamOptions
from triton_repo.contract.errors import UnsupportedParameter
from triton_repo.contract.logprobs import check_logprobs
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import ModelCard

# Parameter -> the values, beside null, that ask for nothing.
UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    # OpenAI
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "prediction": (),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "web_search_options": (),
    # vLLM and its relatives
    "add_generation_prompt": (True,),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "cache_salt": (),
    "chat_template": (),
    "continue_final_message": (False,),
    "documents": ([],),
    "guided_choice": (),
    "guided_decoding_backend": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_whitespace_pattern": (),
    "include_stop_str_in_output": (False,),
    "kv_transfer_params": (),
    "length_penalty": (1, 1.0),
    "logits_processors": ([],),
    "lora_request": (),
    "mm_processor_kwargs": (),
    "priority": (0,),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "regex": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_regex": (),
    "structured_outputs": (),
    "thinking_token_budget": (),
    "truncate_prompt_tokens": (),
    "typical_p": (1, 1.0),
    "use_beam_search": (False,),
}

# Sampling field -> the values that ask an engine for nothing; clients that always send them are not refused.
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "ignore_eos": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "stop_token_ids": ((),),
    "temperature": (0,),
    "top_k": (0, -1),
    "top_p": (1,),
}

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_NAMES: Final = 32


def refuse_unsupported(fields: Mapping[str, Any]) -> None:
    """Raises UnsupportedParameter for the first field that asks for what no engine here does."""
    for name, value in fields.items():
        if value is not None and name in UNSUPPORTED and not _is_one_of(value, UNSUPPORTED[name]):
            raise UnsupportedParameter(f"{name}: this server does not support this parameter", name)


def supported_sampling(sampling: Sampling, card: ModelCard, model: str) -> Sampling:
    """The sampling without what the engine cannot do; raises UnsupportedParameter if it asks for something of that."""
    given = [name for name in card.unsupported if getattr(sampling, name, None) is not None]
    for name in given:
        if getattr(sampling, name) not in NEUTRAL.get(name, ()):
            raise UnsupportedParameter(f"{name}: the {card.runtime} runtime of model {model} cannot do this", name)
    check_logprobs(sampling, card)
    return sampling.model_copy(update=dict.fromkeys(given)) if given else sampling


def ignored_parameters(fields: Mapping[str, Any], body: type[BaseModel]) -> str:
    """Names of the fields that had no effect, as the value of a header: bounded, and of harmless characters."""
    names = _given(fields) - _fields(body) - UNSUPPORTED.keys()
    if options := fields.get("stream_options"):
        names |= {f"stream_options.{name}" for name in _given(options) - _fields(StreamOptions)}
    return ", ".join(sorted(name for name in names if _SAFE_NAME.fullmatch(name))[:_MAX_NAMES])


def _given(fields: Mapping[str, Any]) -> set[str]:
    return {name for name, value in fields.items() if value is not None}


@cache
def _fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields)


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Python holds 0 == False and 1 == True; a client that sends the one for the other has made a mistake."""
    return any(type(value) is type(candidate) and value == candidate for candidate in allowed)
