"""Bodies in the forms in which Claude Code 1 and 2 send them, as public repositories have recorded them.

The texts are ours; the fields, their types, the order of blocks and the headers are those of the recordings.
"""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

HEADERS: Final = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.160 (external, cli)",
    "x-app": "cli",
    "x-stainless-helper-method": "stream",
    "x-stainless-timeout": "600",
}
_CACHED: Final = {"cache_control": {"type": "ephemeral"}}
_METADATA: Final = {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'}
_SYSTEM: Final[list[Json]] = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.160.bca; cc_entrypoint=cli; cch=d1d48;"},
    {"type": "text", "text": "You are an agent for software.", **_CACHED},
    {"type": "text", "text": "\nYou help with a repository.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
]
_TOOLS: Final[list[Json]] = [
    {
        "name": "Read",
        "description": "Reads a file.",
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"file_path": {"type": "string"}, "limit": {"type": "number"}},
            "required": ["file_path"],
            "additionalProperties": False,
        },
        "eager_input_streaming": True,
    },
    {"name": "mcp__notes__list", "description": "", "input_schema": {"type": "object"}, "defer_loading": True},
    {"type": "custom", "name": "Stop", "input_schema": {"type": "object", "properties": {}}, **_CACHED},
]
_REMINDED: Final = [
    {"type": "text", "text": "<system-reminder>\nNotes of the project.\n</system-reminder>\n\n"},
    {"type": "text", "text": "What is Conch?", **_CACHED},
]
_READ: Final = {"type": "tool_use", "id": "toolu_01A", "name": "Read", "input": {"file_path": "/a.md"}}
_MAIN: Final[Json] = {"model": "demo", "system": _SYSTEM, "tools": _TOOLS, "metadata": _METADATA, "max_tokens": 32000}

QUOTA: Final[Json] = {
    "model": "demo",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "quota"}],
    "metadata": _METADATA,
}
TITLE: Final[Json] = {
    "model": "demo",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "<session>\nWhat is Conch?\n</session>"}]}],
    "system": [*_SYSTEM[:2], {"type": "text", "text": "Write a title."}],
    "tools": [],
    "metadata": _METADATA,
    "max_tokens": 32000,
    "temperature": 1,
    "stream": True,
}
FIRST: Final[Json] = {
    **_MAIN,
    "messages": [{"role": "user", "content": _REMINDED}],
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}
LOOP: Final[Json] = {
    **_MAIN,
    "messages": [
        {"role": "user", "content": _REMINDED},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIM"},
                {"type": "text", "text": "I read it."},
                _READ,
            ],
        },
        {
            "role": "user",
            "content": [
                {"tool_use_id": "toolu_01A", "type": "tool_result", "content": "     1\tConch", "is_error": False},
                {"type": "text", "text": "<system-reminder>\nThe date has changed.\n</system-reminder>", **_CACHED},
            ],
        },
        {"role": "system", "content": "Answer in one sentence."},
    ],
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "temperature": 1,
    "stream": True,
}
OLDER: Final[Json] = {
    "model": "demo",
    "max_tokens": 512,
    "messages": [{"role": "user", "content": "What is Conch?"}],
    "system": [{"type": "text", "text": "Say whether it is a new topic.", **_CACHED}],
    "temperature": 0,
    "metadata": {"user_id": "user_0_account__session_0"},
    "stream": True,
}
ALL: Final = (QUOTA, TITLE, FIRST, LOOP, OLDER)
