"""How each family writes calls, for guides. Of those that are missing no guide is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.parsers.guides import CallForm
from gateway.parsers.tools.named_json import DEEPSEEK, KIMI

_OBJECT: Final = '{"name": "NAME", "arguments": '


def _listed(start: str, end: str = "") -> CallForm:
    return CallForm(_OBJECT, "}", start, opening=f"{start}[", separator=", ", closing=f"]{end}")


_LLAMA_JSON: Final = CallForm('{"name": "NAME", "parameters": ', "}", '{"name": ', separator="; ")
_QWEN_XML: Final = CallForm(
    "<tool_call>\n<function=NAME>\n",
    "\n</function>\n</tool_call>",
    "<tool_call>",
    separator="\n",
    content="qwen_xml_parameter",
)
CALL_FORMS: Final[Mapping[str, CallForm]] = {
    "hermes": CallForm(f"<tool_call>\n{_OBJECT}", "}\n</tool_call>", "<tool_call>", separator="\n"),
    "llama3_json": _LLAMA_JSON,
    "llama4_json": _LLAMA_JSON,
    "mistral": CallForm("[TOOL_CALLS]NAME[ARGS]", "", "[TOOL_CALLS]"),
    "deepseek_v3": CallForm(
        f"{DEEPSEEK[1]}function{DEEPSEEK[2]}NAME\n```json\n",
        f"\n```{DEEPSEEK[3]}",
        DEEPSEEK[0],
        opening=DEEPSEEK[0],
        separator="\n",
        closing=DEEPSEEK[4],
    ),
    "deepseek_v31": CallForm(
        f"{DEEPSEEK[1]}NAME{DEEPSEEK[2]}", DEEPSEEK[3], DEEPSEEK[0], opening=DEEPSEEK[0], closing=DEEPSEEK[4]
    ),
    "kimi_k2": CallForm(f"{KIMI[1]}functions.NAME:", KIMI[3], KIMI[0], opening=KIMI[0], closing=KIMI[4], index=KIMI[2]),
    "qwen3_coder": _QWEN_XML,
    "qwen3_xml": _QWEN_XML,
    "granite": _listed("<|tool_call|>"),
    "granite-20b-fc": CallForm(f"<function_call> {_OBJECT}", "}", "<function_call>", separator="\n"),
    "phi4_mini_json": _listed("functools"),
    "nemotron_json": _listed("<TOOLCALL>", "</TOOLCALL>"),
    "jamba": _listed("<tool_calls>", "</tool_calls>"),
    "internlm": CallForm(
        '<|action_start|><|plugin|>\n{"name": "NAME", "parameters": ', "}<|action_end|>", "<|action_start|><|plugin|>"
    ),
    "openai": CallForm(
        "<|channel|>commentary to=functions.NAME<|constrain|>json<|message|>",
        "<|call|>",
        "<|channel|>commentary to=",
        separator="<|start|>assistant",
    ),
}
