"""The families that Conch shards by itself, and what each makes of a `config.json`.

A new family is a module with `traits(config)`, what it adds to the plain decoder, and one line of FAMILIES. A model of
any other architecture is converted by TensorRT-LLM itself, on a GPU host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.architectures import llama, mistral, qwen2, qwen3
from build_scripts.architectures.check import check_weights
from build_scripts.architectures.config_values import ROPE_KEYS, ConfigValues
from build_scripts.architectures.decoder import Decoder, Rope
from triton_repo.contract.errors import BuildError

__all__ = [
    "FAMILIES",
    "Decoder",
    "Family",
    "Rope",
    "UnknownArchitecture",
    "check_weights",
    "decoder_of",
    "family_of",
    "without_rope",
]


class UnknownArchitecture(BuildError):
    """A model of no family of FAMILIES."""


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is HuggingFace's `model_type`; `ties_embeddings` is what an absent `tie_word_embeddings` means."""

    name: str
    traits: Callable[[ConfigValues], dict[str, Any]]
    max_position_embeddings: int
    norm_epsilon: float
    ties_embeddings: bool = False


# HuggingFace's class -> family. The numbers are what transformers assumes where a config.json is silent.
FAMILIES: Final[Mapping[str, Family]] = {
    "LlamaForCausalLM": Family("llama", llama.traits, 2048, 1e-6),
    "MistralForCausalLM": Family("mistral", mistral.traits, 131072, 1e-6),
    "Qwen2ForCausalLM": Family("qwen2", qwen2.traits, 32768, 1e-6),
    "Qwen3ForCausalLM": Family("qwen3", qwen3.traits, 32768, 1e-6),
}


def family_of(config: Mapping[str, Any]) -> str | None:
    """HuggingFace's class name of a model of FAMILIES, None for any other."""
    names = config.get("architectures")
    known = (name for name in names if isinstance(name, str) and name in FAMILIES) if isinstance(names, list) else ()
    return next(iter(known), None)


def without_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json without its rotary embedding, for callers that need only the sizes of a decoder."""
    return {key: value for key, value in config.items() if key not in ROPE_KEYS}


def decoder_of(config: Mapping[str, Any], source: str) -> Decoder:
    """The decoder that the `config.json` of the checkpoint `source` describes.

    Raises:
        UnknownArchitecture: it is of no family of FAMILIES.
        BuildError: a value is missing or not allowed; names its key.
    """
    architecture = family_of(config)
    if architecture is None:
        raise UnknownArchitecture(
            f"{source}: config.json: architectures = {config.get('architectures')}; allowed: {', '.join(FAMILIES)}"
        )
    family, values = FAMILIES[architecture], ConfigValues(source, config)
    hidden_size, num_heads = values.count("hidden_size"), values.count("num_attention_heads")
    num_kv_heads = values.count("num_key_value_heads", num_heads)
    if num_heads % num_kv_heads:
        raise values.error("num_key_value_heads", f"must divide num_attention_heads ({num_heads})")
    return Decoder(
        architecture=architecture,
        family=family.name,
        dtype=values.dtype(),
        num_layers=values.count("num_hidden_layers"),
        hidden_size=hidden_size,
        intermediate_size=values.count("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_size=values.head_size(hidden_size, num_heads),
        vocab_size=values.count("vocab_size"),
        max_position_embeddings=values.count("max_position_embeddings", family.max_position_embeddings),
        norm_epsilon=values.number("rms_norm_eps", family.norm_epsilon),
        rope=values.rope(),
        hidden_act=values.activation(),
        tied_embeddings=values.flag("tie_word_embeddings", family.ties_embeddings),
        **family.traits(values),
    )
