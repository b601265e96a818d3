"""Answers of models that public bug reports tell of, which other servers read wrongly or not at all."""

from __future__ import annotations

import pytest

from gateway.parsers.families import REASONING_PARSERS, TOOL_PARSERS, answer_parser
from tests.gateway.parsers.reading import Part, read
from tests.gateway.parsers.test_families import chunkings

PARAMETERS = {
    "city": {"type": "string"},
    "state": {"type": "string"},
    "unit": {"type": "string"},
    "day": {"type": "integer"},
    "numbers": {"type": "array"},
    "precise": {"type": "boolean"},
}
SCHEMAS = {name: {"type": "object", "properties": PARAMETERS} for name in ("get_weather", "get_time", "calculator")}
WEATHER = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
CALLED = ("call", "get_weather", '{"city": "Paris"}')
TIME = ("call", "get_time", "{}")

# report, family of tools, of reasoning, the answer, what it says
Report = tuple[str, str, str | None, str, list[Part]]
REPORTS: list[Report] = [
    (
        "vllm#28806 #11392: a tool without parameters loses its empty arguments",
        "hermes",
        None,
        '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
        [TIME],
    ),
    (
        "vllm#21360: a list of objects loses its first bracket",
        "hermes",
        None,
        '<tool_call>\n{"name": "calculator", "arguments": {"numbers": [{"value": 1}]}}\n</tool_call>',
        [("call", "calculator", '{"numbers": [{"value": 1}]}')],
    ),
    (
        "vllm#19056: Chinese arguments, and reasoning before them",
        "hermes",
        "qwen3",
        '<think>\n查\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京市"}}\n</tool_call>',
        [("reasoning", "查"), ("call", "get_weather", '{"city": "北京市"}')],
    ),
    (
        "vllm#9693 #10398: the name comes, the arguments never do",
        "hermes",
        None,
        '<tool_call>{"arguments": {"numbers": [1, 2]}, "name": "calculator"}</tool_call>',
        [("call", "calculator", '{"numbers": [1, 2]}')],
    ),
    (
        "text before several calls, which is neither lost nor doubled",
        "hermes",
        None,
        f"Both.\n<tool_call>\n{WEATHER}\n</tool_call>\n<tool_call>\n{WEATHER}\n</tool_call>",
        [("text", "Both."), CALLED, CALLED],
    ),
    (
        "vllm#23099: Qwen3-Coder forgets </parameter>",
        "qwen3_coder",
        None,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n"
        "<parameter=unit>\nfahrenheit\n</parameter>\n</function>\n</tool_call>",
        [("call", "get_weather", '{"city": "Dallas", "state": "TX", "unit": "fahrenheit"}')],
    ),
    (
        "ollama#17914: the last </parameter> is forgotten",
        "qwen3_coder",
        None,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</function>\n</tool_call>",
        [CALLED],
    ),
    (
        "vllm#34919: </parameter> within a value",
        "qwen3_coder",
        None,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n<parameter>1</parameter> <b/>\n</parameter>\n"
        "</function>\n</tool_call>",
        [("call", "get_weather", '{"city": "<parameter>1</parameter> <b/>"}')],
    ),
    (
        "mlx-lm#1310: an integer that is none",
        "qwen3_coder",
        None,
        "<function=get_weather><parameter=day>2026-01-15</parameter></function>",
        [("call", "get_weather", '{"day": "2026-01-15"}')],
    ),
    (
        "vllm#39771, mlx-lm#1881: the bracket behind a parameter's name is forgotten",
        "qwen3_coder",
        None,
        "<tool_call>\n<function=get_weather>\n<parameter=city\nParis\n</parameter>\n</function>\n</tool_call>",
        [CALLED],
    ),
    (
        "vllm-mlx#63: Python's words for JSON's",
        "qwen3_coder",
        None,
        "<tool_call>\n<function=get_weather>\n<parameter=precise>\nTrue\n</parameter>\n"
        "<parameter=numbers>\n['a', None]\n</parameter>\n</function>\n</tool_call>",
        [("call", "get_weather", '{"precise": true, "numbers": ["a", null]}')],
    ),
    (
        "xinfer#392: GLM ends its call twice",
        "glm45",
        "glm45",
        "<think>read</think><tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call></tool_call>",
        [("reasoning", "read"), CALLED],
    ),
    (
        "llama.cpp#15186: line breaks in a value of GLM",
        "glm45",
        None,
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>a\nb</arg_value>\n</tool_call>",
        [("call", "get_weather", '{"city": "a\\nb"}')],
    ),
    (
        "vllm#30651: Devstral writes no [ARGS]",
        "mistral",
        None,
        '[TOOL_CALLS]get_weather{"city": "a/b.txt", "state": "This is {a} test."}',
        [("call", "get_weather", '{"city": "a/b.txt", "state": "This is {a} test."}')],
    ),
    (
        "vllm#30724: a brace in the text before Mistral's calls",
        "mistral",
        None,
        'In {x}:[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}}]',
        [("text", "In {x}:"), CALLED],
    ),
    (
        "Mistral's calls in a list, with ids",
        "mistral",
        None,
        '[TOOL_CALLS] [{"arguments": {"city": "Paris"}, "name": "get_weather", "id": "9Ae3bDc2F"}, '
        '{"name": "get_time", "arguments": {}}]',
        [CALLED, TIME],
    ),
    (
        "TensorRT-LLM#9256, Rapid-MLX#480: channels of gpt-oss leak into the text",
        "openai",
        "openai_gptoss",
        "<|channel|>analysis<|message|>Need it.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        '<|constrain|>json<|message|>{"city": "Paris"}<|call|>',
        [("reasoning", "Need it."), CALLED],
    ),
    (
        "vllm#32587: markers in the name of a function",
        "openai",
        "openai_gptoss",
        '<|channel|>commentary to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris"}<|call|>',
        [CALLED],
    ),
    (
        "mlxcel#658: a preamble is text, and the last call has no end",
        "openai",
        "openai_gptoss",
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_time"
        " <|constrain|>json<|message|>{}",
        [("text", "I look."), TIME],
    ),
    (
        "an answer of gpt-oss with no channel",
        "openai",
        "openai_gptoss",
        "four",
        [("text", "four")],
    ),
    (
        "llama.cpp#11607: DeepSeek R1's distillations, without the section's marker",
        "deepseek_v3",
        "deepseek_r1",
        "<think>so</think>\n\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris"}\n```<｜tool▁call▁end｜>',
        [("reasoning", "so"), CALLED],
    ),
    (
        "vllm#28219 #19024: a call as bare JSON between some words",
        "llama3_json",
        None,
        'Sure: {"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}\n\nMore?',
        [("text", "Sure:"), CALLED, ("text", "\n\nMore?")],
    ),
    (
        "ollama#17616: JSON that is an answer, and no call",
        "llama3_json",
        None,
        '{"name": "Ada", "born": {"year": 1815}}',
        [("text", '{"name": "Ada", "born": {"year": 1815}}')],
    ),
    (
        "vllm#32216: Kimi K2 calls before it ends its reasoning",
        "kimi_k2",
        "kimi_k2",
        "<think>I look<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>',
        [("reasoning", "I look"), (*CALLED, "functions.get_weather:0")],
    ),
    (
        "llxprt-code#749: Kimi K2 calls within its reasoning",
        "kimi_k2",
        "kimi_k2",
        "<think>I look <|tool_calls_section_begin|> <|tool_call_begin|> functions.get_weather:0 "
        '<|tool_call_argument_begin|> {"city": "Paris"} <|tool_call_end|> <|tool_calls_section_end|></think>',
        [("reasoning", "I look "), (*CALLED, "functions.get_weather:0")],
    ),
    (
        "TensorRT-LLM#9256: a commentary that calls nothing",
        "openai",
        "openai_gptoss",
        '<|channel|>commentary<|message|>{\n  "path": "/"\n}<|end|>',
        [("text", '{\n  "path": "/"\n}')],
    ),
    (
        "llama.cpp#18183: JSON without the markers of a call",
        "hermes",
        "qwen3",
        f"Write `{WEATHER}`.",
        [("text", f"Write `{WEATHER}`.")],
    ),
    (
        "ollama#16932: a parameter that is named name",
        "mistral",
        None,
        '[TOOL_CALLS]get_time{"name": "bar"}',
        [("call", "get_time", '{"name": "bar"}')],
    ),
    (
        "vllm#22917: text before a list of calls",
        "llama4_pythonic",
        None,
        'I look.\n[get_time(), get_weather(city="Dublin, Ireland", day=-1)]',
        [("text", "I look."), TIME, ("call", "get_weather", '{"city": "Dublin, Ireland", "day": -1}')],
    ),
    (
        "mlx-lm#1785 llama.cpp#26658: commas and quotes in single quotes",
        "lfm2",
        None,
        """<|tool_call_start|>[get_weather(city='# Hi, \\'a\\', "b"')]<|tool_call_end|>""",
        [("call", "get_weather", '{"city": "# Hi, \'a\', \\"b\\""}')],
    ),
    (
        "vllm#48171: brackets, line breaks, a last backslash, a tuple, a keyword as a name",
        "lfm2",
        None,
        "<|tool_call_start|> [get_weather(city='grep -F \"]\" x', state='a\nb', unit='x \\\\', "
        "numbers=(1, 2), from=-7.5)]<|tool_call_end|>",
        [
            (
                "call",
                "get_weather",
                '{"city": "grep -F \\"]\\" x", "state": "a\\nb", "unit": "x \\\\", "numbers": [1, 2], "from": -7.5}',
            )
        ],
    ),
    (
        "vllm#47906 #39070: values that are no strings, and quotes in those that are",
        "gemma4",
        None,
        '<|tool_call>call:get_weather{city:<|"|>She said "hello"<|"|>,day:5,precise:true}<tool_call|>',
        [("call", "get_weather", '{"city":"She said \\"hello\\"","day":5,"precise":true}')],
    ),
    (
        "openvino model_server, gemma4: quotes, brackets and backslashes in a string",
        "gemma4",
        None,
        '<|tool_call>call:get_weather{city:<|"|>C:\\Users {a}, [b] "c" it\'s<|"|>,day:5}<tool_call|>',
        [("call", "get_weather", '{"city":"C:\\\\Users {a}, [b] \\"c\\" it\'s","day":5}')],
    ),
]


@pytest.mark.parametrize(("tools", "reasoning", "answer", "expected"), [report[1:] for report in REPORTS])
def test_what_others_got_wrong_is_read(tools: str, reasoning: str | None, answer: str, expected: list[Part]) -> None:
    for cuts in chunkings(answer, 20):
        parser = answer_parser(tools, reasoning, SCHEMAS)
        assert parser is not None
        assert read(parser, answer, cuts) == expected


@pytest.mark.parametrize("tools", sorted(TOOL_PARSERS))
def test_any_families_go_together(tools: str) -> None:
    for reasoning in REASONING_PARSERS:
        parser = answer_parser(tools, reasoning, SCHEMAS)
        assert parser is not None
        assert read(parser, "Hello.") == [("text", "Hello.")]
