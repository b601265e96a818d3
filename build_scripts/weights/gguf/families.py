"""The architectures: llama.cpp's names of a model's parts, HuggingFace's, and what differs between the two layouts.

A new one is an entry of FAMILIES, and a function for what its `config.json` has beyond the common values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from build_scripts.weights.gguf import configs
from build_scripts.weights.gguf.model import Model

_TOP: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_GATED: Final = {
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_HEAD_NORMS: Final = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_LLAMA: Final = {**_ATTENTION, **_GATED}


@dataclass(frozen=True, slots=True)
class Family:
    """One of llama.cpp's architectures. Parts are named without `.weight` and `.bias`.

    Attributes:
        architecture, model_type: HuggingFace's class, and its name of the family.
        config: the values of `config.json`.
        layer: the parts of a layer, llama.cpp's name -> HuggingFace's.
        top: the other parts, likewise.
        layers: HuggingFace's prefix of the layers.
        half_split: parts whose rows llama.cpp stores in its own order of rotation.
        norms_less_one: whether llama.cpp stores 1 + weight of every norm.
        transposed: parts that HuggingFace stores as [in, out].
    """

    architecture: str
    model_type: str
    config: Callable[[Model], dict[str, Any]]
    layer: Mapping[str, str]
    top: Mapping[str, str] = field(default_factory=lambda: _TOP)
    layers: str = "model.layers"
    half_split: tuple[str, ...] = ()
    norms_less_one: bool = False
    transposed: tuple[str, ...] = ()


_ROTATED: Final = ("attn_q", "attn_k")

# Where a layer has many of a part, {} stands for the number of the expert.
_MIXTRAL: Final = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
    "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
    "ffn_up_exps": "block_sparse_moe.experts.{}.w3",
}
_EXPERTS: Final = {
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.{}.gate_proj",
    "ffn_up_exps": "mlp.experts.{}.up_proj",
    "ffn_down_exps": "mlp.experts.{}.down_proj",
}
_SHARED_EXPERT: Final = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
_GEMMA2: Final = {
    **_LLAMA,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_OLMO2: Final = {
    **{part: name for part, name in (_LLAMA | _HEAD_NORMS).items() if part not in {"attn_norm", "ffn_norm"}},
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_PHI3: Final = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
_STARCODER2: Final = {
    **_ATTENTION,
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_GLM4: Final = {
    **{part: name for part, name in _LLAMA.items() if part != "ffn_gate"},
    "post_attention_norm": "post_self_attn_layernorm",
    "ffn_up": "mlp.gate_up_proj",
    "post_ffw_norm": "post_mlp_layernorm",
}
_SEED: Final = {
    **{part: name for part, name in _LLAMA.items() if part != "ffn_norm"},
    "post_attention_norm": "post_attention_layernorm",
}
_UNGATED: Final = {part: name for part, name in _LLAMA.items() if part != "ffn_gate"}
_WITHOUT_NORMS: Final = {part: name for part, name in _LLAMA.items() if not part.endswith("norm")}
_PHI2: Final = {
    **_ATTENTION,
    "attn_output": "self_attn.dense",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_PHI2_TOP: Final = {**_TOP, "output_norm": "model.final_layernorm"}
_COMMAND_R: Final = {part: name for part, name in (_LLAMA | _HEAD_NORMS).items() if part != "ffn_norm"}
_GPT2: Final = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_GPT2_TOP: Final = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family("LlamaForCausalLM", "llama", configs.llama, {**_LLAMA, **_MIXTRAL}, half_split=_ROTATED),
    "qwen2": Family("Qwen2ForCausalLM", "qwen2", configs.qwen2, _LLAMA),
    "qwen3": Family("Qwen3ForCausalLM", "qwen3", configs.qwen3, _LLAMA | _HEAD_NORMS),
    "qwen2moe": Family("Qwen2MoeForCausalLM", "qwen2_moe", configs.qwen2moe, _ATTENTION | _EXPERTS | _SHARED_EXPERT),
    "qwen3moe": Family("Qwen3MoeForCausalLM", "qwen3_moe", configs.qwen3moe, _ATTENTION | _HEAD_NORMS | _EXPERTS),
    "gemma": Family("GemmaForCausalLM", "gemma", configs.gemma, _LLAMA, norms_less_one=True),
    "gemma2": Family("Gemma2ForCausalLM", "gemma2", configs.gemma2, _GEMMA2, norms_less_one=True),
    "gemma3": Family("Gemma3ForCausalLM", "gemma3_text", configs.gemma3, _GEMMA2 | _HEAD_NORMS, norms_less_one=True),
    "phi3": Family("Phi3ForCausalLM", "phi3", configs.phi3, _PHI3),
    "granite": Family("GraniteForCausalLM", "granite", configs.granite, _LLAMA, half_split=_ROTATED),
    "smollm3": Family("SmolLM3ForCausalLM", "smollm3", configs.smollm3, _LLAMA, half_split=_ROTATED),
    "olmo2": Family("Olmo2ForCausalLM", "olmo2", configs.olmo2, _OLMO2),
    "stablelm": Family("StableLmForCausalLM", "stablelm", configs.stablelm, _LLAMA),
    "starcoder2": Family("Starcoder2ForCausalLM", "starcoder2", configs.starcoder2, _STARCODER2),
    "glm4": Family("Glm4ForCausalLM", "glm4", configs.glm4, _GLM4),
    "exaone4": Family("Exaone4ForCausalLM", "exaone4", configs.exaone4, _OLMO2),
    "ernie4_5": Family("Ernie4_5ForCausalLM", "ernie4_5", configs.ernie, _LLAMA),
    "seed_oss": Family("SeedOssForCausalLM", "seed_oss", configs.seed_oss, _SEED),
    "arcee": Family("ArceeForCausalLM", "arcee", configs.arcee, _UNGATED, half_split=_ROTATED),
    "nemotron": Family("NemotronForCausalLM", "nemotron", configs.nemotron, _UNGATED, norms_less_one=True),
    "olmo": Family("OlmoForCausalLM", "olmo", configs.olmo, _WITHOUT_NORMS, half_split=_ROTATED),
    "phi2": Family("PhiForCausalLM", "phi", configs.phi2, _PHI2, top=_PHI2_TOP),
    "cohere2": Family("Cohere2ForCausalLM", "cohere2", configs.cohere2, _COMMAND_R),
    "command-r": Family("CohereForCausalLM", "cohere", configs.command_r, _COMMAND_R),
    "starcoder": Family(
        "GPTBigCodeForCausalLM", "gpt_bigcode", configs.starcoder, _GPT2, top=_GPT2_TOP, layers="transformer.h"
    ),
    "gpt2": Family(
        "GPT2LMHeadModel",
        "gpt2",
        configs.gpt2,
        _GPT2,
        top=_GPT2_TOP,
        layers="transformer.h",
        transposed=("attn_qkv", "attn_output", "ffn_up", "ffn_down"),
    ),
}
