"""Parameters that clients know from OpenAI, vLLM and other servers and that do not work here.

What would change the answer is rejected by name; a value that asks for nothing (null, an empty list, the default)
passes. Whatever else a body holds is ignored, and the answer's header `x-ignored-parameters` names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from itertools import chain, islice
from typing import Any, Final

from pydantic import BaseModel

from gateway.dialects.openai.requests.generation import StreamOptions
from gateway.dialects.openai.requests.response_format import ResponseFormat, StructuredOutputs
from triton_repo.contract.errors import UnsupportedParameter

# Parameter -> the values, besides null, that ask for nothing.
UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    # OpenAI
    "audio": (),
    "modalities": (["text"],),
    "suffix": ("",),
    "web_search_options": (),
    # vLLM, SGLang and TensorRT-LLM
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "chat_template": (),
    "custom_logit_processor": (),
    "documents": ([],),
    "guided_decoding_backend": ("auto",),
    "guided_whitespace_pattern": (),
    "kv_transfer_params": (),
    "length_penalty": (1,),
    "logprob_token_ids": ([],),
    "logits_processors": ([],),
    "lora_request": (),
    "mm_processor_kwargs": (),
    "prompt_embeds": (),
    "repetition_detection": (),
    "return_hidden_states": (False,),
    "return_prompt_text": (False,),
    "return_token_offsets": (False,),
    "return_tokens_as_token_ids": (False,),
    "spaces_between_special_tokens": (True, False),  # of tokenizers without a fast form
    "stop_regex": (),
    "thinking_token_budget": (),
    "truncation_side": ("left",),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
    "watermarking": (False,),
    # llama.cpp, Ollama, text-generation-webui and transformers
    "do_sample": (True,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "early_stopping": (False,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "format": (),
    "grammar": ("",),
    "grammar_string": ("",),
    "guidance_scale": (1,),
    "lora": ([],),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "n_probs": (0,),
    "negative_prompt": ("",),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "options": ({},),
    "penalty_alpha": (0,),
    "reasoning_budget_tokens": (-1,),
    "samplers": (),
    "sampler_order": (),
    "smoothing_factor": (0,),
    "tfs": (1,),
    "tfs_z": (1,),
    "thinking_budget_tokens": (-1,),
    "top_a": (0,),
    "top_n_sigma": (-1,),
    "xtc_probability": (0,),
}

# Parameter -> the one without which it asks for nothing, whatever its value.
_ONLY_WITH: Final[Mapping[str, str]] = {"truncation_side": "truncate_prompt_tokens"}

# The same as UNSUPPORTED for those that a chat takes and a completion does not.
OF_CHATS: Final[Mapping[str, tuple[Any, ...]]] = {
    "function_call": ("none", "auto"),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
OF_COMPLETIONS: Final[Mapping[str, tuple[Any, ...]]] = {"echo": (False,)}

# Other servers' name of a parameter -> the name that it has here, and the values that ask for nothing.
OTHER_NAMES: Final[Mapping[str, tuple[str, tuple[Any, ...]]]] = {
    "extra_body": ("its fields at the top level of the body", ({},)),
    "lora_path": ("lora_name", ()),
    "max_length": ("max_tokens", ()),
    "max_new_tokens": ("max_tokens", ()),
    "min_new_tokens": ("min_tokens", (0,)),
    "min_length": ("min_tokens", (0,)),
    "n_predict": ("max_tokens", (-1,)),
    "no_stop_trim": ("include_stop_str_in_output", (False,)),
    "num_predict": ("max_tokens", (-1,)),
    "num_return_sequences": ("n", (1,)),
    "repeat_penalty": ("repetition_penalty", (1,)),
    "stop_sequences": ("stop", ([],)),
    "stopping_strings": ("stop", ([],)),
}

_NO_LOGITS: Final = "only logit_bias changes the logits of single tokens, where the engine can"
_NO_BEAMS: Final = "answers are sampled, not searched for with beams"
_NO_BUDGET: Final = "no runtime here counts the tokens of reasoning while it generates"
# Why, where that helps a person; of others the name says enough.
REASONS: Final[Mapping[str, str]] = {
    "allowed_token_ids": _NO_LOGITS,
    "bad_words": _NO_LOGITS,
    "logprob_token_ids": "the engine chooses the alternatives to a token",
    "custom_logit_processor": "code of a client is not run",
    "logits_processors": "code of a client is not run",
    "chat_template": "the template is the checkpoint's; a client's own would be code of a client",
    "documents": "write them into a message",
    "early_stopping": _NO_BEAMS,
    "length_penalty": _NO_BEAMS,
    "num_beams": _NO_BEAMS,
    "use_beam_search": _NO_BEAMS,
    "audio": "the models write text alone",
    "modalities": "the models write text alone",
    "prompt_embeds": "prompts are text or token ids",
    "suffix": "a model that fills in takes its own tokens in the prompt",
    "reasoning_budget_tokens": _NO_BUDGET,
    "thinking_budget_tokens": _NO_BUDGET,
    "thinking_token_budget": _NO_BUDGET,
    "truncation_side": "truncate_prompt_tokens keeps the end of a prompt",
    "web_search_options": "the server searches nothing",
}

# What is ignored, and the values that ask for what happens anyway.
IGNORED: Final[Mapping[str, tuple[Any, ...]]] = {
    "prediction": (),  # it is for speed, and leaves the answer as it is
    "store": (False,),
    "verbosity": ("medium",),
}

# Objects in a body, whose fields are told too, and what they know by other names.
_WITHIN: Final[Mapping[str, tuple[type[BaseModel], frozenset[str]]]] = {
    "stream_options": (StreamOptions, frozenset()),
    "response_format": (ResponseFormat, frozenset({"schema", "value"})),
    "structured_outputs": (StructuredOutputs, frozenset({"json"})),
}

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_NAMES: Final = 32


def reject_unsupported(fields: Mapping[str, Any], body: type[BaseModel]) -> None:
    """Raises UnsupportedParameter for the first field that asks for what no engine here does."""
    rejected = rejected_parameters(body)
    for name, value in fields.items():
        if value is None or name not in rejected or (name in _ONLY_WITH and not fields.get(_ONLY_WITH[name])):
            continue
        if not _is_one_of(value, rejected[name][1]):
            raise UnsupportedParameter(f"{name}: {rejected[name][0]}", name)


@cache
def rejected_parameters(body: type[BaseModel]) -> Mapping[str, tuple[str, tuple[Any, ...]]]:
    """Parameters that a path with such bodies rejects: why, and the values, besides null, that ask for nothing."""
    others = {
        name: (f"only {kind} takes this parameter", values)
        for kind, names in (("a chat", OF_CHATS), ("a completion", OF_COMPLETIONS))
        for name, values in names.items()
        if name not in _fields(body)
    }
    return {
        **{name: (_unsupported(name), values) for name, values in UNSUPPORTED.items()},
        **{
            name: (f"this server does not support this parameter, use {known}", values)
            for name, (known, values) in OTHER_NAMES.items()
        },
        **others,
    }


def _unsupported(name: str) -> str:
    return "this server does not support this parameter" + (f": {REASONS[name]}" if name in REASONS else "")


def ignored_parameters(fields: Mapping[str, Any], body: type[BaseModel]) -> str:
    """Names of the fields that had no effect, as the value of a header."""
    known = _fields(body) | UNSUPPORTED.keys() | OF_CHATS.keys() | OF_COMPLETIONS.keys() | OTHER_NAMES.keys()
    names = _unknown(fields, known)
    for name, (model, others) in _WITHIN.items():
        value = fields.get(name) if name in _fields(body) else None
        if isinstance(value, Mapping):
            names = chain(names, _unknown(value, _fields(model) | others, f"{name}."))
    return names_in_header(names)


def names_in_header(names: Iterable[str]) -> str:
    """As the value of a header: bounded, and of harmless characters."""
    return ", ".join(sorted(islice(filter(_SAFE_NAME.fullmatch, names), _MAX_NAMES)))


def _unknown(fields: Mapping[str, Any], known: Set[str], prefix: str = "") -> Iterator[str]:
    for name, value in fields.items():
        if value is not None and name not in known and not _is_one_of(value, IGNORED.get(prefix + name, ())):
            yield prefix + name


@cache
def _fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields)


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Python holds 0 == False and 1 == True; a client that sends the one for the other has made a mistake."""
    return any(value == candidate and isinstance(value, bool) == isinstance(candidate, bool) for candidate in allowed)
