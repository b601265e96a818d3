"""Renders chat templates with our Jinja environment and with transformers' public function, and compares them.

`python -m tests.triton_repo.preprocess.compare_templates DIRECTORY` compares every file of a directory, for instance
`models/templates` of llama.cpp, and prints each difference and a count.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from transformers.utils.chat_template_utils import render_jinja_template

from triton_repo.preprocess.jinja_environment import compile_template

TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'Tells the <weather> & "more", in °C',
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "enum": [1, 2]}},
                "required": ["city"],
            },
        },
    }
]
_CALL: Final = {
    "id": "call12345",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Bonn", "days": 2}},
}
_RESULT: Final = {"role": "tool", "tool_call_id": "call12345", "name": "weather", "content": '{"degrees": 7}'}


def _message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def _parts(role: str, *texts: str) -> dict[str, Any]:
    return _message(role, [{"type": "text", "text": text} for text in texts])


CONVERSATIONS: Final[Mapping[str, list[dict[str, Any]]]] = {
    "one message": [_message("user", "Hello <b>&\n  wörld ")],
    "an empty message": [_message("user", "")],
    "a system message": [
        _message("system", "Be brief."),
        _message("user", "a"),
        _message("assistant", "b "),
        _message("user", "c"),
    ],
    "a developer message": [_message("developer", "Be brief."), _message("user", "a")],
    "parts": [_parts("user", "one", "two")],
    "parts in every role": [_parts("system", "a"), _parts("user", "b"), _parts("assistant", "c"), _parts("user", "d")],
    "parts among strings": [_message("user", "a"), _message("assistant", "b"), _parts("user", "c")],
    "thoughts": [
        _message("user", "a"),
        _message("assistant", "<think>hm</think>\n\nyes", reasoning_content="hm"),
        _message("user", "b"),
    ],
    "a tool call": [_message("user", "a"), _message("assistant", None, tool_calls=[_CALL]), _RESULT],
    "a tool call and more": [
        _message("system", "s"),
        _message("user", "a"),
        _message("assistant", "", tool_calls=[_CALL]),
        _RESULT,
        _message("assistant", "7"),
        _message("user", "b"),
    ],
    "an assistant first": [_message("assistant", "a")],
}
VARIABLES: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"tools": TOOLS},
    {"add_generation_prompt": False},
    {"enable_thinking": False, "date_string": "1 Jan 2025"},
    {"tools": TOOLS, "documents": [{"title": "t", "text": "x"}], "enable_thinking": True},
)
_COMMON: Final[Mapping[str, Any]] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "",
    "pad_token": "",
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
}


def comparisons(source: str) -> Iterator[tuple[str, str, str]]:
    """(case, transformers' rendering, ours) of every conversation with every set of variables; an error is its text."""
    for (name, messages), variables in itertools.product(CONVERSATIONS.items(), VARIABLES):
        given = {**_COMMON, **variables}
        theirs = _outcome(partial(_render_theirs, source, messages, given))
        ours = _outcome(partial(_render_ours, source, messages, given))
        yield f"{name}, {[*variables]}", theirs, ours


def _render_theirs(source: str, messages: Any, variables: Mapping[str, Any]) -> str:
    rendered: Any = render_jinja_template([messages], chat_template=source, **variables)
    return str(rendered[0][0])


def _render_ours(source: str, messages: Any, variables: Mapping[str, Any]) -> str:
    return compile_template(source).render(messages=messages, **variables)


def _outcome(render: Callable[[], str]) -> str:
    try:
        return render()
    except Exception as error:  # noqa: BLE001  (templates raise what they like)
        return f"{type(error).__name__}: {error}"


def main(directory: Path) -> int:
    sources = {path.read_text(encoding="utf-8"): path for path in sorted(directory.rglob("*")) if path.is_file()}
    compared, different = 0, 0
    for source, path in sources.items():
        for case, theirs, ours in comparisons(source):
            compared += 1
            if theirs != ours:
                different += 1
                sys.stdout.write(f"{path}: {case}:\n  transformers: {theirs!r}\n  conch:        {ours!r}\n")
    sys.stdout.write(f"{len(sources)} templates, {compared} renderings compared, {different} different\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
