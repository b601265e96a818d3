"""What a response says of the request that asked for it."""

from __future__ import annotations

from typing import Any

from gateway.dialects.responses.request import Format, ResponsesRequest
from gateway.dialects.responses.resource import Echo
from gateway.dialects.responses.tools import flat_choice, flat_tool


def echo(body: ResponsesRequest) -> Echo:
    """The fields of a response that repeat its request; OpenAI's defaults stand for what was left out, as the schema
    wants them to. An engine may have another temperature of its own."""
    text, reasoning = body.text, body.reasoning
    return {
        "instructions": body.instructions,
        "previous_response_id": body.previous_response_id,
        "conversation": {"id": body.conversation} if body.conversation else None,
        "tools": [flat_tool(tool) for tool in body.tools or ()],
        "tool_choice": flat_choice(body.tool_choice or "auto"),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "text": {
            "format": _format(text.format if text else None),
            "verbosity": (text and text.verbosity) or "medium",
        },
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": None},
        "max_output_tokens": None if body.max_output_tokens == -1 else body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "presence_penalty": body.presence_penalty or 0.0,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "top_logprobs": body.top_logprobs or 0,
        "truncation": body.truncation or "disabled",
        "store": body.is_stored,
        "background": bool(body.background),
        "service_tier": "flex" if body.service_tier == "flex" else "default",
        "metadata": body.metadata or {},
        "user": body.user,
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
        "prompt_cache_retention": body.prompt_cache_retention,
    }


def _format(format: Format | None) -> dict[str, Any]:
    """As OpenAI answers: `description` may be null, and `strict` is told where it was left out."""
    shown = {"type": "text"} if format is None else format.model_dump(by_alias=True)
    return shown | ({"strict": bool(shown["strict"])} if "strict" in shown else {})
