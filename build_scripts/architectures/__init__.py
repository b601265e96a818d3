"""The families that Conch shards by itself, and what each makes of a `config.json`.

A new family is a line of FAMILIES and a module that says how it differs from the plain decoder. Plans, shards and
`--verify` read what comes out, a Decoder, and know no family but by TensorRT-LLM's class of it
(`tensorrt_llm/sharding/trtllm_config.py`). A model of any other architecture is converted by TensorRT-LLM itself, on a
GPU host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from build_scripts.architectures import gemma, granite, llama, mistral, nemotron, phi3, qwen
from build_scripts.architectures.check import check_weights
from build_scripts.architectures.config_values import MOST_LAYERS, ConfigValues, NotCompiled, UnknownArchitecture
from build_scripts.architectures.decoder import Decoder
from build_scripts.architectures.rope import ROPE_KEYS, read_rope
from build_scripts.architectures.values import Norms, Rope

__all__ = [
    "FAMILIES",
    "Decoder",
    "Family",
    "NotCompiled",
    "Rope",
    "UnknownArchitecture",
    "check_weights",
    "decoder_of",
    "family_of",
    "without_rope",
]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family differs from Llama. The numbers are what transformers assumes where a config.json is silent.

    Attributes:
        name: HuggingFace's `model_type`.
        traits: values of its Decoder that are not the plain ones.
        norms: their epsilon is the default; `epsilon_key` is its key.
        ties_embeddings: what an absent `tie_word_embeddings` means.
        head_size: where `head_dim` is absent; None: hidden_size / num_attention_heads.
    """

    name: str
    traits: Callable[[ConfigValues], dict[str, Any]]
    max_position_embeddings: int
    norms: Norms
    ties_embeddings: bool = False
    epsilon_key: str = "rms_norm_eps"
    head_size: int | None = None
    rope: Callable[[ConfigValues], Rope] = read_rope


_RMS: Final = Norms(1e-6)
_GEMMA: Final = Norms(1e-6, offset=1)
_GEMMA2: Final = Norms(1e-6, offset=1, sandwich=True)
_LAYER_1P: Final = Norms(1e-5, "layer", offset=1)

# HuggingFace's class -> family.
FAMILIES: Final[Mapping[str, Family]] = {
    "LlamaForCausalLM": Family("llama", llama.traits, 2048, _RMS),
    "MistralForCausalLM": Family("mistral", mistral.traits, 131072, _RMS),
    "MixtralForCausalLM": Family("mixtral", mistral.mixtral_traits, 131072, Norms(1e-5), rope=mistral.mixtral_rope),
    "Qwen2ForCausalLM": Family("qwen2", qwen.qwen2_traits, 32768, _RMS),
    "Qwen2MoeForCausalLM": Family("qwen2_moe", qwen.qwen2_moe_traits, 32768, _RMS),
    "Qwen3ForCausalLM": Family("qwen3", qwen.qwen3_traits, 32768, _RMS, head_size=128),
    "Qwen3MoeForCausalLM": Family("qwen3_moe", qwen.qwen3_moe_traits, 32768, _RMS),
    "GemmaForCausalLM": Family("gemma", gemma.traits, 8192, _GEMMA, True, head_size=256),
    "Gemma2ForCausalLM": Family("gemma2", gemma.gemma2_traits, 8192, _GEMMA2, True, head_size=256),
    "Gemma3ForCausalLM": Family(
        "gemma3_text", gemma.gemma3_traits, 131072, _GEMMA2, True, head_size=256, rope=gemma.gemma3_rope
    ),
    "Phi3ForCausalLM": Family("phi3", phi3.traits, 4096, Norms(1e-5), rope=phi3.rope),
    "NemotronForCausalLM": Family(
        "nemotron", nemotron.traits, 4096, _LAYER_1P, epsilon_key="norm_eps", rope=nemotron.rope
    ),
    "GraniteForCausalLM": Family("granite", granite.traits, 2048, _RMS),
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
        NotCompiled: it is of one, and TensorRT-LLM's compiled flow would compute something else.
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
    decoder = Decoder(
        architecture=architecture,
        family=family.name,
        dtype=values.dtype(),
        num_layers=values.count("num_hidden_layers", most=MOST_LAYERS),
        hidden_size=hidden_size,
        intermediate_size=values.count("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_size=values.head_size(hidden_size, num_heads, family.head_size),
        vocab_size=values.count("vocab_size"),
        max_position_embeddings=values.count("max_position_embeddings", family.max_position_embeddings),
        norms=replace(family.norms, epsilon=values.number(family.epsilon_key, family.norms.epsilon)),
        rope=family.rope(values),
        tied_embeddings=values.flag("tie_word_embeddings", family.ties_embeddings),
        **family.traits(values),
    )
    if decoder.qk_norm and num_heads == num_kv_heads > 1:
        # layers/attention.py takes q, k and v to lie head by head there, where its models put them one below the other
        rule = "must be fewer than num_attention_heads (TensorRT-LLM's norm of heads)"
        raise values.not_compiled("num_key_value_heads", rule)
    _check_turned(values, decoder)
    return decoder


def _check_turned(values: ConfigValues, decoder: Decoder) -> None:
    """The rotary embedding turns pairs of values."""
    turned = decoder.turned_size
    if decoder.rope.fraction < 1 and (turned < 2 or turned % 2):
        rule = f"must turn an even number ≥ 2 of a head's values (head_dim {decoder.head_size}), and turns {turned}"
        raise values.error("partial_rotary_factor", rule)
