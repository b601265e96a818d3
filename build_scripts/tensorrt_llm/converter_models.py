"""The architectures that TensorRT-LLM 1.2 converts and compiles by its own code (models/__init__.py, MODEL_MAP).

Those of text: what a checkpoint's `architectures` must name for `build.flow = compiled`.
"""

from __future__ import annotations

from typing import Final

CONVERTED: Final = frozenset(
    {
        *("GPT2LMHeadModel", "GPT2LMHeadCustomModel", "GPTBigCodeForCausalLM", "Starcoder2ForCausalLM"),
        *("JAISLMHeadModel", "GPTForCausalLM", "NemotronForCausalLM", "OPTForCausalLM", "BloomForCausalLM"),
        *("RWForCausalLM", "FalconForCausalLM", "PhiForCausalLM", "Phi3ForCausalLM", "Phi3SmallForCausalLM"),
        *("PhiMoEForCausalLM", "MambaForCausalLM", "GPTNeoXForCausalLM", "GPTJForCausalLM", "MptForCausalLM"),
        *("MPTForCausalLM", "ChatGLMForCausalLM", "LlamaForCausalLM", "ExaoneForCausalLM", "MistralForCausalLM"),
        *("MixtralForCausalLM", "ArcticForCausalLM", "Grok1ModelForCausalLM", "InternLMForCausalLM"),
        *("InternLM2ForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM", "BaichuanForCausalLM"),
        *("BaiChuanForCausalLM", "SkyworkForCausalLM", "GemmaForCausalLM", "Gemma2ForCausalLM"),
        *("Gemma3ForCausalLM", "QWenLMHeadModel", "QWenForCausalLM", "Qwen2ForCausalLM", "Qwen2MoeForCausalLM"),
        *("Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "DbrxForCausalLM", "RecurrentGemmaForCausalLM"),
        *("DeepseekForCausalLM", "DeciLMForCausalLM", "DeepseekV2ForCausalLM", "CohereForCausalLM"),
    }
)
