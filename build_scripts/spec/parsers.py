"""The names of the gateway's parsers (`gateway/parsers/families.py`), which are mostly those of vLLM."""

from __future__ import annotations

from typing import Final

TOOL_PARSERS: Final = (
    "cohere_command3",
    "deepseek_v3",
    "deepseek_v31",
    "deepseek_v32",
    "deepseek_v4",
    "functiongemma",
    "gemma4",
    "glm45",
    "granite",
    "granite-20b-fc",
    "hermes",
    "internlm",
    "jamba",
    "kimi_k2",
    "lfm2",
    "llama3_json",
    "llama4_json",
    "llama4_pythonic",
    "minimax_m2",
    "mistral",
    "nemotron_json",
    "olmo3",
    "openai",
    "phi4_mini_json",
    "pythonic",
    "qwen3_coder",
    "qwen3_xml",
    "seed_oss",
)
REASONING_PARSERS: Final = (
    "cohere_command3",
    "deepseek_r1",
    "deepseek_v3",
    "gemma4",
    "glm45",
    "granite",
    "kimi_k2",
    "minimax_m2",
    "mistral",
    "nemotron_v3",
    "olmo3",
    "openai_gptoss",
    "qwen3",
    "seed_oss",
    "step3",
)
