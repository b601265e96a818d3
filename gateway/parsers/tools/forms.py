"""How each family writes calls, for guides.

Of those that are missing no guide is known: either their arguments are not JSON, or a part of a call is a token that
ends the answer (gpt-oss), or models of one family write calls in several forms (Mistral, Phi-4-mini).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.parsers.guides import CallForm
from gateway.parsers.tools.named_json import DEEPSEEK, KIMI

_OBJECT: Final = '{"name": "NAME", "arguments": '


def _listed(start: str, end: str = "") -> CallForm:
    return CallForm(_OBJECT, "}", start, opening=f"{start}[", separator=", ", closing=f"]{end}")


_LLAMA_JSON: Final = CallForm('{"name": "NAME", "parameters": ', "}", trigger="", separator="; ")
CALL_FORMS: Final[Mapping[str, CallForm]] = {
    "hermes": CallForm(f"<tool_call>\n{_OBJECT}", "}\n</tool_call>", "<tool_call>", separator="\n"),
    "llama3_json": _LLAMA_JSON,
    "llama4_json": _LLAMA_JSON,
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
    "granite": _listed("<|tool_call|>"),
    "granite-20b-fc": CallForm(f"<function_call> {_OBJECT}", "}", "<function_call>", separator="\n"),
    "nemotron_json": _listed("<TOOLCALL>", "</TOOLCALL>"),
    "jamba": _listed("<tool_calls>", "</tool_calls>"),
    "internlm": CallForm(
        '<|action_start|><|plugin|>\n{"name": "NAME", "parameters": ', "}<|action_end|>", "<|action_start|><|plugin|>"
    ),
}
