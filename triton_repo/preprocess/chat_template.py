"""A checkpoint's chat template: messages in, prompt text out.

The template is code from outside. It runs in transformers' immutable Jinja sandbox, with its output bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from transformers.utils import chat_template_utils

from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest

# What a running template may raise on a client's messages, beside its own `raise_exception`.
_TEMPLATE_ERRORS: Final = (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError)
_RESERVED: Final = frozenset({"messages", "tools", "documents", "add_generation_prompt", "chat_template", "tokenize"})
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


class ChatTemplate:
    """Renders the messages of one request."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        # transformers' public function returns only whole texts; its compiled template can be stopped on the way.
        self._template: jinja2.Template = chat_template_utils._compile_jinja_template(source)
        self._special_tokens = dict(special_tokens)

    @classmethod
    def load(cls, tokenizer_directory: Path) -> ChatTemplate | None:
        """The template that lies beside the tokenizer, or None for a base model."""
        file = tokenizer_directory / "chat_template.jinja"
        if not file.exists():
            return None
        config: dict[str, Any] = json.loads((tokenizer_directory / "tokenizer_config.json").read_text())
        return cls(file.read_text(), {name: _token_text(config.get(name)) for name in _SPECIAL_TOKENS})

    def render(self, chat: Mapping[str, Any], max_characters: int) -> str:
        """The prompt of `chat` = {"messages": [...], "tools": [...] | None, "template_arguments": {...} | None}.

        Raises:
            InvalidRequest: the template refuses the messages.
            ContextLengthExceeded: its output passes `max_characters`.
        """
        messages = chat.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("messages: a non-empty list is required", "messages")
        arguments = chat.get("template_arguments") or {}
        if not isinstance(arguments, dict):
            raise InvalidRequest("template_arguments: a JSON object is required", "chat_template_kwargs")
        for name in _RESERVED.intersection(arguments):
            raise InvalidRequest(f"chat_template_kwargs.{name}: this name is reserved", "chat_template_kwargs")
        try:
            variables = {
                **self._special_tokens,
                **arguments,
                "messages": [_with_parsed_arguments(message) for message in messages],
                "tools": chat.get("tools") or None,
                "documents": None,
                "add_generation_prompt": True,
            }
            return _join_bounded(self._template.generate(variables), max_characters)
        except _TEMPLATE_ERRORS as error:
            raise InvalidRequest(f"messages: the chat template refuses them: {error}", "messages") from error


def _join_bounded(pieces: Iterable[str], max_characters: int) -> str:
    taken: list[str] = []
    length = 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length > max_characters:
            raise ContextLengthExceeded(
                f"messages: the prompt is longer than {max_characters} characters and cannot fit", "messages"
            )
    return "".join(taken)


def _token_text(token: str | Mapping[str, str] | None) -> str:
    """`tokenizer_config.json` spells a special token as text or as an object with `content`."""
    if token is None:
        return ""
    return token if isinstance(token, str) else token["content"]


def _with_parsed_arguments(message: Any) -> Any:
    """OpenAI sends the arguments of a past tool call as JSON text; templates are written for the object."""
    if not isinstance(message, dict) or not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [_parse_call(call) for call in message["tool_calls"]]}


def _parse_call(call: Any) -> Any:
    try:
        return {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
    except (TypeError, KeyError, ValueError, RecursionError):
        return call  # not OpenAI's shape, or not JSON: the template sees what was sent
