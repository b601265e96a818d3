"""The format of answers, told from lines of real chat templates that write or describe it."""

from __future__ import annotations

import pytest

from gateway.parsers.families import REASONING_PARSERS, TOOL_PARSERS
from triton_repo.answer_format import _REASONING, _TOOLS, AnswerFormat, detect_answer_format

THINK = "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}"
TEMPLATES = {
    # Qwen 2.5
    r"within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args>}": (
        "hermes",
        None,
    ),
    # Qwen 3: the same, and reasoning
    '{{- \'<tool_call>\\n{"name": "\' }}{{- tool_call.name }}' + THINK: ("hermes", "qwen3"),
    # Qwen3-Coder, Nemotron 3
    "<tool_call>\\n<function=example>\\n<parameter=example_1>\\nvalue_1\\n</parameter>\\n</function>": (
        "qwen3_coder",
        None,
    ),
    # GLM 4.6
    "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{v}</arg_value></tool_call>" + THINK: (
        "glm45",
        "glm45",
    ),
    # DeepSeek R1's distillations, V3.1, V3.2
    "'<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + name + '\\n' + '```json' <｜Assistant｜>" + THINK: (
        "deepseek_v3",
        "deepseek_r1",
    ),
    "'<｜tool▁call▁begin｜>'+ tool['function']['name'] + '<｜tool▁sep｜>' + arguments <｜Assistant｜>" + THINK: (
        "deepseek_v31",
        "deepseek_v3",
    ),
    "{%- set dsml_token = '｜DSML｜' -%}{{- '<' + dsml_token + 'function_calls>' }}" + THINK: (
        "deepseek_v32",
        "deepseek_v3",
    ),
    # Mistral Nemo, Devstral, Ministral 3
    "{{- '[TOOL_CALLS][' }}{%- for tool_call in message.tool_calls %}": ("mistral", None),
    "{{- '[TOOL_CALLS]' + tool['function']['name'] + '[ARGS]' + arguments }}{{ '[THINK]' + thinking + '[/THINK]' }}": (
        "mistral",
        "mistral",
    ),
    # Llama 3.1, 3.2
    "'<|start_header_id|>' 'Respond in the format {\"name\": function name, \"parameters\": dictionary}'"
    "{{- '\"parameters\": ' }}": ("llama3_json", None),
    # Granite 3.3
    "'<|start_of_role|>assistant<|tool_call|>' write the calls as a JSON list after <|tool_call|>": ("granite", None),
    # Phi-4-mini, Firefunction
    'a single JSON list formatted as functools[{"name": [function name], "arguments": [JSON]}, ...]': (
        "phi4_mini_json",
        None,
    ),
    # Kimi K2
    "<|tool_call_begin|>{{ tool_call['id'] }}<|tool_call_argument_begin|>{{ arguments }}": ("kimi_k2", None),
    # gpt-oss
    '{{- "<|start|>assistant<|channel|>analysis<|message|>" + message.thinking + "<|end|>" }}': (
        "openai",
        "openai_gptoss",
    ),
    # MiniMax M2, Seed-OSS
    "{%- set toolcall_begin_token = '<minimax:tool_call>' -%}" + THINK: ("minimax_m2", "minimax_m2"),
    "<seed:tool_call>\\n<function=name>\\n<parameter=a>1</parameter> <seed:think>": ("seed_oss", "seed_oss"),
    # Command A, Gemma 4, LFM 2
    '<|START_THINKING|>plan<|END_THINKING|><|START_ACTION|>[{"tool_call_id": "0"': (
        "cohere_command3",
        "cohere_command3",
    ),
    "'<|channel>thought\\n' '<|tool_call>call:' + function['name'] + '{'": ("gemma4", "gemma4"),
    '"<|tool_call_start|>[" + (calls | join(", ")) + "]<|tool_call_end|>"': ("lfm2", None),
    # no tools: ChatML, Gemma 2
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}": (None, None),
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}": (None, None),
}


@pytest.mark.parametrize(("template", "names"), TEMPLATES.items(), ids=[str(names) for names in TEMPLATES.values()])
def test_a_template_names_its_format(template: str, names: tuple[str | None, str | None]) -> None:
    assert detect_answer_format(template) == AnswerFormat(*names)


def test_every_format_that_is_detected_has_its_parser() -> None:
    assert {name for name, _ in _TOOLS} <= TOOL_PARSERS.keys()
    assert {name for name, _ in _REASONING} <= REASONING_PARSERS.keys()
