"""Special tokens in `tokenizer_config.json`."""

from __future__ import annotations

from collections.abc import Mapping


def token_text(token: object) -> str | None:
    """A token is there as text, or as an object with its `content`; None where it is neither, or empty."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) and token else None
