"""How a chat template reads the content of a message: as a string, or as a list of parts.

Most templates print the string; some (Llama Guard 3, many of vision models) loop over the parts and leave out a string
without an error. Which one a template reads is found by rendering it, so that it holds for any way to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

ContentFormat = Literal["string", "parts"]

_SENTINEL = "sentinel0of0the0content0format"


def detect_content_format(render: Callable[[Sequence[Any]], str]) -> ContentFormat:
    """The format in which the text of a message shows in the prompt; a string if it does in both, or in neither.

    Args:
        render: the template's text for these messages; whatever it raises, the text does not show.
    """
    for format in ("string", "parts"):
        message = {"role": "user", "content": _SENTINEL}
        try:
            text = render([in_format(message, format)])
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112  (code of the checkpoint)
            continue
        if _SENTINEL in text.lower():
            return format
    return "string"


def in_format(message: Any, format: ContentFormat) -> Any:
    """The message with its text in that format. Content of other types than text is left as it is.

    Content that is null, as OpenAI sends it beside tool calls, is an empty text: many templates add it to others.
    """
    if not isinstance(message, dict) or "content" not in message:
        return message
    content = message["content"]
    if content is None:
        return {**message, "content": "" if format == "string" else []}
    if format == "string":
        texts = _texts(content)
        return message if texts is None else {**message, "content": "".join(texts)}
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _texts(content: Any) -> list[str] | None:
    """The texts of a list of text parts; None for anything else."""
    if not isinstance(content, list):
        return None
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return texts if len(texts) == len(content) else None
