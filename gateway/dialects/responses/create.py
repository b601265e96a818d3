"""POST /v1/responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Call
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.parameters import ignored_parameters, reject_unsupported
from gateway.dialects.openai.requests.tools import unenforced
from gateway.dialects.responses.events import ResponseEvent
from gateway.dialects.responses.includable import LOGPROBS
from gateway.dialects.responses.request import ResponsesRequest
from gateway.dialects.responses.resource import Response
from gateway.dialects.responses.session import ResponseSession
from gateway.dialects.responses.tools import dropped
from triton_repo.contract.errors import UnsupportedParameter

# A chat's name of a parameter -> the name that it has here.
_OF_CHATS: Final[Mapping[str, str]] = {
    "logprobs": f"include with {LOGPROBS}",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}


class CreateResponse:
    dialect: Final = OPENAI
    body: Final = ResponsesRequest
    answer: Final = Response
    event: Final = ResponseEvent

    def parse(self, fields: dict[str, Any]) -> Call:
        reject_unsupported(fields, ResponsesRequest)
        _reject_of_chats(fields)
        body = parse_body(ResponsesRequest, fields)
        return ResponseSession(body, _ignored(fields, body)).call()


def _reject_of_chats(fields: dict[str, Any]) -> None:
    for name, known in _OF_CHATS.items():
        if fields.get(name) is not None:
            raise UnsupportedParameter(f"{name}: a response does not take this parameter, use {known}", name)
    if fields.get("n") not in (None, 1):
        raise UnsupportedParameter(f"n = {fields['n']!r:.64}: there is one answer in a response", "n")


def _ignored(fields: dict[str, Any], body: ResponsesRequest) -> str:
    """Names of what had no effect, parts of parameters too."""
    parts = [*dropped(fields.get("tools")), *unenforced(body.tools)]
    if body.reasoning is not None and (body.reasoning.summary or body.reasoning.generate_summary):
        parts.append("reasoning.summary")  # reasoning is sent as it is
    if body.text is not None and body.text.verbosity not in (None, "medium"):
        parts.append("text.verbosity")
    if body.stream_options is not None and body.stream_options.include_obfuscation:
        parts.append("stream_options.include_obfuscation")
    others = {name: value for name, value in fields.items() if name != "stream_options"}  # those of a chat are others
    return ", ".join(filter(None, [ignored_parameters(others, ResponsesRequest), *parts]))
