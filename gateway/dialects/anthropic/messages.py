"""POST /v1/messages."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from gateway.answers.request import AnswerRequest
from gateway.dialects.anthropic.answer import MessageAnswer, MessageEvent
from gateway.dialects.anthropic.conversation import chat_of
from gateway.dialects.anthropic.encoder import MessageEncoder
from gateway.dialects.anthropic.envelope import ANTHROPIC, ThreadUnsupported
from gateway.dialects.anthropic.request import MessagesRequest
from gateway.dialects.anthropic.tools import offered_tools
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Call
from gateway.dialects.openai.parameters import names_in_header


class Messages:
    dialect: Final = ANTHROPIC
    body: Final = MessagesRequest
    answer: Final = MessageAnswer
    event: Final = MessageEvent

    def parse(self, fields: dict[str, Any]) -> Call:
        reject_thread(fields)
        body = parse_body(MessagesRequest, fields)
        listed, tools = offered_tools(body.tools, body.tool_choice)
        request = AnswerRequest(
            body.model,
            [chat_of(body, listed)],
            body.sampling,
            stops=tuple(stop for stop in body.stop_sequences or () if stop),
            stream=bool(body.stream),
            tools=tools,
            effort=body.effort,
            clip_max_tokens=True,
        )
        encoder = partial(MessageEncoder, max_tokens=body.max_tokens, thinking=body.shown_thinking)
        return Call(request, encoder, ignored_fields(fields), body.sent_as)


def reject_thread(fields: dict[str, Any]) -> None:
    """A client that lets the server keep a conversation goes on without once it is told so.

    Raises:
        ThreadUnsupported
    """
    if fields.get("thread") is not None:
        raise ThreadUnsupported("thread: this server keeps no conversations, send all messages", "thread")


def ignored_fields(fields: dict[str, Any]) -> str:
    """Names of the fields that have no effect, as the value of a header."""
    known = MessagesRequest.model_fields.keys()
    names = [name for name, value in fields.items() if value is not None and name not in known]
    thinking = fields.get("thinking")
    if isinstance(thinking, dict) and thinking.get("budget_tokens") is not None:
        names.append("thinking.budget_tokens")
    return names_in_header(names)
