"""A checkpoint's chat template: messages in, prompt text out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, RequestError
from triton_repo.preprocess.client_text import NO_MARKS, ClientText, Marked
from triton_repo.preprocess.content_format import ContentFormat, detect_content_format, in_format
from triton_repo.preprocess.final_message import CONTINUE, up_to_tag, with_tag
from triton_repo.preprocess.generic_tools import in_words, reads_system, reads_tools
from triton_repo.preprocess.jinja_environment import GAVE_UP, compile_template, free_variables
from triton_repo.preprocess.tool_history import (
    HistoryFormat,
    detect_history_format,
    in_history_format,
    named_reasoning,
)
from triton_repo.tokenizer_config import token_text

_RESERVED: Final = frozenset({"messages", "tools", "documents", "add_generation_prompt", "chat_template", "tokenize"})
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
TEMPLATE: Final = "chat_template.jinja"
TOOL_TEMPLATE: Final = "chat_template_tool_use.jinja"  # for chats with tools, where a checkpoint has one of its own
ARGUMENTS: Final = "chat_template_kwargs"  # a client's name of `template_arguments`
_WORD: Final = re.compile(r"\w+")
_REASONING: Final = ("reasoning", "thinking")  # names under which templates read it, besides `reasoning_content`
_MAX_ERROR_CHARACTERS: Final = 1000
_PROBE_CHARACTERS: Final = 1 << 20  # more than any template adds to one short message


class ChatTemplate:
    """Renders the messages of one request. It runs the checkpoint's code, whose time and memory are not bounded here.

    Args:
        tool_use: the template of chats with tools, if it is another one.
        client_text: marks the special tokens that are text.

    Raises:
        ValueError: a source is not a template.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        tool_use: str | None = None,
        client_text: ClientText = NO_MARKS,
    ) -> None:
        self._with_tools = None if tool_use is None else ChatTemplate(tool_use, special_tokens, None, client_text)
        self._client_text = client_text
        self._template = compile_template(source)
        self.source = source
        self._special_tokens = dict(special_tokens)

    @classmethod
    def load(cls, tokenizer_directory: Path, client_text: ClientText = NO_MARKS) -> ChatTemplate | None:
        """The template in the tokenizer's directory, or None for a base model."""
        file = tokenizer_directory / TEMPLATE
        if not file.exists():
            return None
        config: dict[str, Any] = json.loads((tokenizer_directory / "tokenizer_config.json").read_text(encoding="utf-8"))
        special_tokens = {**dict.fromkeys(_SPECIAL_TOKENS, ""), **_named_tokens(config)}
        tool_use = tokenizer_directory / TOOL_TEMPLATE
        with_tools = tool_use.read_text(encoding="utf-8") if tool_use.exists() else None
        return cls(file.read_text(encoding="utf-8"), special_tokens, with_tools, client_text)

    @property
    def reads_parts(self) -> bool:
        """Whether the template gets the content of a message as a list of parts."""
        return self._content_format == "parts"

    def render_json(self, chat: bytes, max_characters: int) -> Marked:
        """`render` of a chat that is JSON."""
        try:
            fields: Any = json.loads(chat)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"chat: not valid JSON: {error}", "messages") from error
        if not isinstance(fields, dict):
            raise InvalidRequest("chat: a JSON object is required", "messages")
        return self.render_marked(fields, max_characters)

    def render(self, chat: Mapping[str, Any], max_characters: int) -> str:
        """The text of `render_marked`, without its marks."""
        return self.render_marked(chat, max_characters).plain

    def render_marked(self, chat: Mapping[str, Any], max_characters: int) -> Marked:
        """The prompt of `chat` = {"messages": [...], "tools": [...] | None, "template_arguments": {...} | None}.

        It ends with the beginning of an answer, unless `chat["add_generation_prompt"]` is false, or with the text of
        the last message if `chat["continue_final_message"]` is true.

        Raises:
            InvalidRequest: the template rejects the messages, or needs a variable that the arguments lack.
            ContextLengthExceeded: the prompt is longer than `max_characters`.
        """
        if self._with_tools is not None and chat.get("tools"):
            return self._with_tools.render_marked(chat, max_characters)
        messages = chat.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("messages: a non-empty list is required", "messages")
        arguments = chat.get("template_arguments") or {}
        if not isinstance(arguments, dict):
            raise InvalidRequest("template_arguments: a JSON object is required", ARGUMENTS)
        for name in _RESERVED.intersection(arguments):
            raise InvalidRequest(f"{ARGUMENTS}.{name}: this name is reserved", ARGUMENTS)
        tools = chat.get("tools") or None
        variables = self._variables(arguments, (), tools)
        try:
            formatted = [in_format(message, self._content_format) for message in self._with_tools_told(messages, tools)]
            return self._render_sent(formatted, variables, chat, max_characters)
        except (RequestError, MemoryError):
            raise
        except Exception as error:  # the boundary of the checkpoint's code, which may raise anything on these messages
            said = str(error)[:_MAX_ERROR_CHARACTERS]
            if missing := self._missing_variables(error, variables):
                rule = f"{ARGUMENTS}: the chat template needs {', '.join(missing)}: {said}"
                raise InvalidRequest(rule, ARGUMENTS) from error
            raise InvalidRequest(f"messages: rejected by the chat template: {said}", "messages") from error

    def _render_sent(
        self, messages: Sequence[Any], variables: Mapping[str, Any], chat: Mapping[str, Any], max_characters: int
    ) -> Marked:
        """The last steps before and after the template."""
        continues = bool(chat.get(CONTINUE))
        begins_answer = not continues and chat.get("add_generation_prompt") is not False
        sent = {**variables, "messages": with_tag(messages) if continues else messages}
        given = chat.get("template_arguments") or {}
        ours: dict[str, Any] = {name: value for name, value in self._special_tokens.items() if name not in given}
        ours["add_generation_prompt"] = begins_answer
        marked, mark = self._client_text.mark({name: value for name, value in sent.items() if name not in ours})
        text = self._render({**ours, **marked}, max_characters)
        return Marked(up_to_tag(text) if continues else text, mark)

    def _with_tools_told(self, messages: Sequence[Any], tools: Any) -> Sequence[Any]:
        """The messages with the calls of earlier turns as the template reads them, or in words if it reads none."""
        messages = [named_reasoning(message, self._reasoning_names) for message in messages]
        has_calls = any(_is_of_a_call(message) for message in messages)
        if (tools and not self.reads_tools) or (has_calls and self.history_format is None):
            return in_words(messages, () if self.reads_tools else tools or (), in_system=self._reads_system)
        return in_history_format(messages, self.history_format) if has_calls and self.history_format else messages

    @cached_property
    def _content_format(self) -> ContentFormat:
        return detect_content_format(self._probe)

    @cached_property
    def history_format(self) -> HistoryFormat | None:
        """How the template gets the calls of earlier turns; None if it reads none."""
        return detect_history_format(self._probe_formatted)

    @cached_property
    def reads_tools(self) -> bool:
        """Whether the template tells the model of the tools; if not, they are told in words."""
        return reads_tools(self._probe_formatted)

    @cached_property
    def _reads_system(self) -> bool:
        return reads_system(self._probe_formatted)

    @cached_property
    def _reasoning_names(self) -> Sequence[str]:
        return [name for name in _REASONING if name in self.source]

    def _probe(self, messages: Sequence[Any], tools: Any = None) -> str:
        return self._render(self._variables({}, messages, tools), _PROBE_CHARACTERS)

    def _probe_formatted(self, messages: Sequence[Any], tools: Any = None) -> str:
        return self._probe([in_format(message, self._content_format) for message in messages], tools)

    def _missing_variables(self, error: Exception, given: Mapping[str, Any]) -> list[str]:
        """The variables without which the template gave up, as its own words say."""
        if type(error) not in GAVE_UP:
            return []
        return sorted((free_variables(self.source) - given.keys()) & set(_WORD.findall(str(error))))

    def _variables(self, arguments: Mapping[str, Any], messages: Sequence[Any], tools: Any) -> dict[str, Any]:
        return {
            **self._special_tokens,
            **arguments,
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": True,
        }

    def _render(self, variables: Mapping[str, Any], max_characters: int) -> str:
        return _join_bounded(self._template.generate(variables), max_characters)


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


def _named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that have a name: those that all tokenizers name, and those of this one alone.

    `tokenizer_config.json` has each as text or as an object with `content`.
    """
    own = [config.get(key) for key in ("extra_special_tokens", "model_specific_special_tokens")]
    named = {name: token for tokens in (config, *own) if isinstance(tokens, dict) for name, token in tokens.items()}
    texts = ((name, token_text(token)) for name, token in named.items() if name.endswith("_token"))
    return {name: text for name, text in texts if text is not None}


def _is_of_a_call(message: Any) -> bool:
    return isinstance(message, dict) and bool(message.get("tool_calls") or message.get("role") == "tool")
