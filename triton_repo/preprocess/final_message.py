"""A chat whose last message the model is to continue: its prompt ends where the text of that message does.

As transformers does it (`apply_chat_template(continue_final_message=True)`): a tag behind the text is looked for in the
rendered prompt. Where the template trims texts, the prompt ends without the space at the end of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from triton_repo.contract.errors import InvalidRequest

CONTINUE: Final = "continue_final_message"
_TAG: Final = "end0of0the0final0message "  # the space tells whether texts are trimmed


def with_tag(messages: Sequence[Any]) -> list[Any]:
    """
    Raises:
        InvalidRequest: the last one has no text to continue.
    """
    *earlier, last = messages
    content = last.get("content") if isinstance(last, dict) else None
    if isinstance(content, str) and content:
        return [*earlier, {**last, "content": content + _TAG}]
    if isinstance(content, list):
        for at, part in reversed(list(enumerate(content))):
            if isinstance(part, dict) and isinstance(part.get("text"), str) and part["text"]:
                tagged = {**part, "text": part["text"] + _TAG}
                return [*earlier, {**last, "content": [*content[:at], tagged, *content[at + 1 :]]}]
    raise InvalidRequest(f"{CONTINUE}: the last message has no text to continue", "messages")


def up_to_tag(prompt: str) -> str:
    """
    Raises:
        InvalidRequest: the template does not write the text of the last message.
    """
    at = prompt.rfind(_TAG.strip())
    if at < 0:
        raise InvalidRequest(f"{CONTINUE}: the chat template leaves out the text of the last message", "messages")
    return prompt[:at] if prompt.startswith(_TAG, at) else prompt[:at].rstrip()
