"""How the models of each family write calls: what their chat templates make of the calls of earlier turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Arguments = Mapping[str, Any]
Calls = Sequence[tuple[str, Arguments]]


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def objects(calls: Calls, arguments: str = "arguments") -> list[str]:
    return [f'{{"name": {dumps(name)}, "{arguments}": {dumps(values)}}}' for name, values in calls]


def each(start: str, end: str, separator: str = "\n") -> Callable[[Calls], str]:
    return lambda calls: separator.join(f"{start}{call}{end}" for call in objects(calls))


def as_list(start: str, end: str) -> Callable[[Calls], str]:
    return lambda calls: f"{start}[{', '.join(objects(calls))}]{end}"


def llama3(calls: Calls) -> str:
    return "; ".join(objects(calls, "parameters"))


def python(start: str, end: str, separator: str = ", ") -> Callable[[Calls], str]:
    def write(calls: Calls) -> str:
        written = [
            f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})" for name, values in calls
        ]
        return f"{start}{separator.join(written)}{end}"

    return write


def deepseek_v3(calls: Calls) -> str:
    each = (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{dumps(values)}\n```<｜tool▁call▁end｜>"
        for name, values in calls
    )
    return "<｜tool▁calls▁begin｜>" + "\n".join(each) + "<｜tool▁calls▁end｜>"


def deepseek_v31(calls: Calls) -> str:
    each = (f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{dumps(values)}<｜tool▁call▁end｜>" for name, values in calls)
    return "<｜tool▁calls▁begin｜>" + "".join(each) + "<｜tool▁calls▁end｜>"


def kimi(calls: Calls) -> str:
    each = (
        f"<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>{dumps(values)}<|tool_call_end|>"
        for index, (name, values) in enumerate(calls)
    )
    return "<|tool_calls_section_begin|>" + "".join(each) + "<|tool_calls_section_end|>"


def internlm(calls: Calls) -> str:
    return "".join(f"<|action_start|><|plugin|>\n{call}<|action_end|>" for call in objects(calls, "parameters"))


def mistral(calls: Calls) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{dumps(values)}" for name, values in calls)


def qwen3_coder(calls: Calls, section: str = "tool_call") -> str:
    def write(name: str, values: Arguments) -> str:
        parameters = "".join(f"<parameter={key}>\n{as_text(value)}\n</parameter>\n" for key, value in values.items())
        return f"<{section}>\n<function={name}>\n{parameters}</function>\n</{section}>"

    return "\n".join(write(*call) for call in calls)


def minimax(calls: Calls) -> str:
    def write(name: str, values: Arguments) -> str:
        parameters = "".join(f'<parameter name="{key}">{as_text(value)}</parameter>\n' for key, value in values.items())
        return f'<invoke name="{name}">\n{parameters}</invoke>\n'

    return "<minimax:tool_call>\n" + "".join(write(*call) for call in calls) + "</minimax:tool_call>"


def dsml(section: str) -> Callable[[Calls], str]:
    def write(name: str, values: Arguments) -> str:
        parameters = "".join(
            f'<｜DSML｜parameter name="{key}" string="{str(isinstance(value, str)).lower()}">'
            f"{as_text(value)}</｜DSML｜parameter>\n"
            for key, value in values.items()
        )
        return f'<｜DSML｜invoke name="{name}">\n{parameters}</｜DSML｜invoke>\n'

    return lambda calls: f"<｜DSML｜{section}>\n" + "".join(write(*call) for call in calls) + f"</｜DSML｜{section}>"


def glm(calls: Calls) -> str:
    def write(name: str, values: Arguments) -> str:
        parameters = "".join(
            f"<arg_key>{key}</arg_key>\n<arg_value>{as_text(value)}</arg_value>\n" for key, value in values.items()
        )
        return f"<tool_call>{name}\n{parameters}</tool_call>"

    return "\n".join(write(*call) for call in calls)


def gemma(start: str, end: str, quote: str) -> Callable[[Calls], str]:
    def value_of(value: Any) -> str:
        if isinstance(value, str):
            return f"{quote}{value}{quote}"
        if isinstance(value, dict):
            return "{" + ",".join(f"{key}:{value_of(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(value_of, value)) + "]"
        return dumps(value)

    return lambda calls: "".join(f"{start}call:{name}{value_of(values)}{end}" for name, values in calls)


def cohere(calls: Calls) -> str:
    each = (
        f'    {{"tool_call_id": "{index}", "tool_name": {dumps(name)}, "parameters": {dumps(values)}}}'
        for index, (name, values) in enumerate(calls)
    )
    return "<|START_ACTION|>[\n" + ",\n".join(each) + "\n]<|END_ACTION|>"


def harmony(calls: Calls) -> str:
    return "<|start|>assistant".join(
        f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{dumps(values)}<|call|>"
        for name, values in calls
    )


WRITERS: Final[Mapping[str, Callable[[Calls], str]]] = {
    "hermes": each("<tool_call>\n", "\n</tool_call>"),
    "llama3_json": llama3,
    "llama4_json": llama3,
    "pythonic": python("[", "]"),
    "llama4_pythonic": python("<|python_start|>[", "]<|python_end|>"),
    "olmo3": python("<function_calls>\n", "\n</function_calls>", "\n"),
    "lfm2": python("<|tool_call_start|>[", "]<|tool_call_end|>"),
    "mistral": mistral,
    "deepseek_v3": deepseek_v3,
    "deepseek_v31": deepseek_v31,
    "deepseek_v32": dsml("function_calls"),
    "deepseek_v4": dsml("tool_calls"),
    "qwen3_coder": qwen3_coder,
    "qwen3_xml": qwen3_coder,
    "seed_oss": lambda calls: qwen3_coder(calls, "seed:tool_call"),
    "minimax_m2": minimax,
    "glm45": glm,
    "granite": as_list("<|tool_call|>", ""),
    "granite-20b-fc": each("<function_call> ", ""),
    "phi4_mini_json": as_list("functools", ""),
    "nemotron_json": as_list("<TOOLCALL>", "</TOOLCALL>"),
    "jamba": as_list("<tool_calls>", "</tool_calls>"),
    "internlm": internlm,
    "cohere_command3": cohere,
    "gemma4": gemma("<|tool_call>", "<tool_call|>", '<|"|>'),
    "functiongemma": gemma("<start_function_call>", "<end_function_call>", "<escape>"),
    "kimi_k2": kimi,
    "openai": harmony,
}
