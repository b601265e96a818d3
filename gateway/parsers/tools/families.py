"""How each family of models writes calls, by the names that vLLM gives to their parsers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.parsers.parser import Parser, Schemas
from gateway.parsers.source import Markers
from gateway.parsers.tools import bare_json, harmony, named_json
from gateway.parsers.tools.answer import Calls, answer
from gateway.parsers.tools.gemma import Gemma
from gateway.parsers.tools.marked_json import marked_json
from gateway.parsers.tools.pythonic import pythonic
from gateway.parsers.tools.tagged import Tags


@dataclass(frozen=True, slots=True)
class ToolFamily:
    """How a family writes calls.

    Attributes:
        reads: what it reads, for the documentation.
        models: models that write so, for the documentation.
        parser: makes the parser of one answer that may call these functions.
        keep_special: special tokens that the parser must see in the text, if the tokenizer has them as such. The first
            starts a call.
    """

    reads: str
    models: str
    parser: Callable[[Schemas], Parser]
    keep_special: tuple[str, ...] = ()


def _json(reads: str, models: str, *starts: str, end: str = "") -> ToolFamily:
    return _behind(reads, models, marked_json(end), starts, end)


def _behind(reads: str, models: str, calls: Calls, starts: tuple[str, ...], *others: str) -> ToolFamily:
    markers = Markers(*starts)
    keep = tuple(marker for marker in (*starts, *others) if marker)
    return ToolFamily(reads, models, lambda _schemas: answer(markers, calls), keep)


def _python(reads: str, models: str, *starts: str, end: str, is_bare: bool = False) -> ToolFamily:
    def parser(schemas: Schemas) -> Parser:
        return pythonic(schemas, *starts, end=end, is_bare=is_bare)

    return ToolFamily(reads, models, parser, (*starts, end))


def _tagged(reads: str, models: str, tags: Tags) -> ToolFamily:
    return ToolFamily(reads, models, tags.parser, tags.markers)


def _gemma(models: str, start: str, end: str, quote: str) -> ToolFamily:
    grammar = Gemma(start, end, quote)
    reads = f"{start}call:NAME{{KEY:{quote}VALUE{quote}, …}}{end}"
    return ToolFamily(reads, models, lambda _schemas: grammar.parser(), grammar.markers)


def _dsml(models: str, section: str) -> ToolFamily:
    tags = Tags(
        f"<｜DSML｜{section}>",
        f"</｜DSML｜{section}>",
        function="<｜DSML｜invoke",
        function_end="</｜DSML｜invoke>",
        key="<｜DSML｜parameter",
        value_end="</｜DSML｜parameter>",
        breaks_lines=False,
    )
    reads = '<｜DSML｜invoke name="NAME"><｜DSML｜parameter name="KEY" string="true">VALUE</｜DSML｜parameter>…'
    return _tagged(reads, models, tags)


_QWEN_TAGS: Final = Tags("<tool_call>", "</tool_call>", function="<function=")
_LLAMA_JSON: Final = ToolFamily(
    '{"name": …, "parameters": {…}}, with or without <|python_tag|>',
    "Llama 3.1, 3.2, 3.3",
    bare_json.bare_json,
    (bare_json.PYTHON_TAG,),
)
_QWEN_XML: Final = _tagged(
    "<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>",
    "Qwen3-Coder, Qwen 3.5, Nemotron 3",
    _QWEN_TAGS,
)
_DEEPSEEK: Final = _behind(
    "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>, V3's with type and fence too",
    "DeepSeek V3, V3.1, R1",
    named_json.deepseek_calls,
    named_json.DEEPSEEK[:2],
    *named_json.DEEPSEEK[2:],
)
TOOL_PARSERS: Final[Mapping[str, ToolFamily]] = {
    "hermes": _json(
        '<tool_call>{"name": …, "arguments": {…}}</tool_call>',
        "Hermes, Qwen 2.5, Qwen 3, Granite 4, SmolLM 3, EXAONE 4",
        "<tool_call>",
        end="</tool_call>",
    ),
    "llama3_json": _LLAMA_JSON,
    "llama4_json": _LLAMA_JSON,
    "pythonic": _python(
        "[NAME(KEY=VALUE), …]",
        "Llama 3.2, ToolACE",
        "<|python_tag|>",
        "<|python_start|>",
        end="<|python_end|>",
        is_bare=True,
    ),
    "llama4_pythonic": _python(
        "<|python_start|>[NAME(KEY=VALUE), …]<|python_end|>, or the list alone",
        "Llama 4",
        "<|python_start|>",
        "<|python_tag|>",
        end="<|python_end|>",
        is_bare=True,
    ),
    "olmo3": _python(
        "<function_calls>NAME(KEY=VALUE)</function_calls>", "Olmo 3", "<function_calls>", end="</function_calls>"
    ),
    "lfm2": _python(
        "<|tool_call_start|>[NAME(KEY=VALUE), …]<|tool_call_end|>",
        "LFM 2",
        "<|tool_call_start|>",
        end="<|tool_call_end|>",
    ),
    "mistral": _behind(
        "[TOOL_CALLS]NAME[ARGS]{…}, or [TOOL_CALLS] and a list of objects",
        "Mistral, Mixtral, Devstral, Magistral",
        named_json.mistral_calls,
        named_json.MISTRAL[:1],
        *named_json.MISTRAL[1:],
    ),
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v31": _DEEPSEEK,
    "deepseek_v32": _dsml("DeepSeek V3.2", "function_calls"),
    "deepseek_v4": _dsml("DeepSeek V4", "tool_calls"),
    "qwen3_coder": _QWEN_XML,
    "qwen3_xml": _QWEN_XML,
    "seed_oss": _tagged(
        "<seed:tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></seed:tool_call>",
        "Seed-OSS",
        Tags("<seed:tool_call>", "</seed:tool_call>", function="<function="),
    ),
    "minimax_m2": _tagged(
        '<minimax:tool_call><invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke></minimax:tool_call>',
        "MiniMax M2",
        Tags("<minimax:tool_call>", "</minimax:tool_call>", function="<invoke name=", function_end="</invoke>"),
    ),
    "glm45": _tagged(
        "<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>",
        "GLM 4.5, 4.6, 4.7",
        Tags(
            "<tool_call>",
            "</tool_call>",
            function="",
            function_end="",
            key="<arg_key>",
            key_end="</arg_key>",
            value="<arg_value>",
            value_end="</arg_value>",
            breaks_lines=False,
        ),
    ),
    "granite": _json(
        '<|tool_call|>[{"name": …, "arguments": {…}}, …], or <tool_call> and the list',
        "Granite 3",
        "<|tool_call|>",
        "<tool_call>",
        end="</tool_call>",
    ),
    "granite-20b-fc": _json(
        '<function_call> {"name": …, "arguments": {…}}', "Granite 20B function calling", "<function_call>"
    ),
    "phi4_mini_json": _json(
        'functools[{"name": …, "arguments": {…}}, …], or <|tool_call|> and the list',
        "Phi-4-mini",
        "functools",
        "<|tool_call|>",
        end="<|/tool_call|>",
    ),
    "nemotron_json": _json(
        '<TOOLCALL>[{"name": …, "arguments": {…}}, …]</TOOLCALL>',
        "Llama Nemotron, Nemotron Nano 2",
        "<TOOLCALL>",
        end="</TOOLCALL>",
    ),
    "jamba": _json(
        '<tool_calls>[{"name": …, "arguments": {…}}, …]</tool_calls>',
        "Jamba, Hunyuan A13B",
        "<tool_calls>",
        end="</tool_calls>",
    ),
    "internlm": _json(
        '<|action_start|><|plugin|>{"name": …, "parameters": {…}}<|action_end|>',
        "InternLM 2.5, InternLM 3",
        "<|action_start|><|plugin|>",
        end="<|action_end|>",
    ),
    "cohere_command3": _json(
        '<|START_ACTION|>[{"tool_name": …, "parameters": {…}}, …]<|END_ACTION|>',
        "Command R7B, Command A",
        "<|START_ACTION|>",
        end="<|END_ACTION|>",
    ),
    "gemma4": _gemma("Gemma 4", "<|tool_call>", "<tool_call|>", '<|"|>'),
    "functiongemma": _gemma("FunctionGemma", "<start_function_call>", "<end_function_call>", "<escape>"),
    "kimi_k2": _behind(
        "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|>",
        "Kimi K2",
        named_json.kimi_calls,
        named_json.KIMI[:2],
        *named_json.KIMI[2:],
    ),
    "openai": ToolFamily(
        "<|channel|>commentary to=functions.NAME<|constrain|>json<|message|>{…}<|call|>",
        "gpt-oss",
        harmony.harmony,
        harmony.SPECIAL,
    ),
}
