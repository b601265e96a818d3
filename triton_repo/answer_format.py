"""How a model writes calls of tools, and its reasoning, as its chat template tells.

A template writes the calls and the reasoning of earlier turns as the model itself does, and often tells the model how:
the markers in its source name the format. The names are those of the gateway's parsers (`gateway/parsers/families.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The names of the parsers that read the answers of a model; None: there is nothing to parse, or none is known."""

    tools: str | None = None
    reasoning: str | None = None


def detect_answer_format(template: str) -> AnswerFormat:
    """The format that the source of a chat template implies; where it has one for tools, pass that."""
    return AnswerFormat(_first(_TOOLS, template), _first(_REASONING, template))


def _first(rules: tuple[tuple[str, str], ...], template: str) -> str | None:
    return next((name for name, pattern in rules if re.search(pattern, template, re.DOTALL)), None)


# The first that matches holds: from what only one family writes to what many do.
_TOOLS: Final = (
    ("openai", r"<\|channel\|>.*<\|message\|>"),
    ("deepseek_v4", r"DSML.*tool_calls>"),
    ("deepseek_v32", r"DSML.*function_calls"),
    ("deepseek_v3", r"tool▁call▁begin.*```json"),
    ("deepseek_v31", r"tool▁call▁begin"),
    ("kimi_k2", r"<\|tool_call_argument_begin\|>"),
    ("minimax_m2", r"minimax:tool_call"),
    ("seed_oss", r"<seed:tool_call>"),
    ("glm45", r"<arg_key>"),
    ("qwen3_coder", r"<function=.*<parameter="),
    ("mistral", r"\[TOOL_CALLS\]"),
    ("cohere_command3", r"<\|START_ACTION\|>"),
    ("nemotron_json", r"<TOOLCALL>"),
    ("gemma4", r"<\|tool_call>"),
    ("functiongemma", r"<start_function_call>"),
    ("lfm2", r"<\|tool_call_start\|>|<\|tool_list_start\|>|List of tools: \["),
    ("olmo3", r"<function_calls>"),
    ("internlm", r"<\|action_start\|>"),
    ("phi4_mini_json", r"functools|<\|/tool_call\|>|<\|tool\|>"),
    ("granite", r"<\|tool_call\|>"),
    ("granite-20b-fc", r"<function_call>"),
    ("jamba", r"<tool_calls>"),
    ("hermes", r"""<tool_call>.{0,40}\\?["']name"""),
    ("pythonic", r"\[func_name1\(|<\|python_start\|>\["),
    ("llama3_json", r"""<\|start_header_id\|>.*\\?["']parameters\\?["']:|<\|header_start\|>.*"parameters":"""),
)
_REASONING: Final = (
    ("openai_gptoss", r"<\|channel\|>analysis"),
    ("mistral", r"\[THINK\]"),
    ("seed_oss", r"<seed:think>"),
    ("cohere_command3", r"<\|START_THINKING\|>"),
    ("gemma4", r"<\|channel>"),
    ("minimax_m2", r"minimax:tool_call.*</think>|</think>.*minimax:tool_call"),
    ("glm45", r"<arg_key>.*</think>|</think>.*<arg_key>"),
    ("kimi_k2", r"tool_call_argument_begin.*</think>|</think>.*tool_call_argument_begin"),
    ("deepseek_v3", r"DSML|tool▁call▁begin(?!.*```json).*</think>"),
    ("deepseek_r1", r"<｜Assistant｜>.*</think>|</think>.*<｜Assistant｜>"),
    ("qwen3", r"</think>"),
    ("granite", r"Here is my thought process:"),
)
