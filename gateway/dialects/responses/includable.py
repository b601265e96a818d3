"""What `include` may ask for: parts of responses and items that OpenAI leaves out without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LOGPROBS: Final = "message.output_text.logprobs"

INCLUDABLE: Final = frozenset(
    {
        LOGPROBS,
        "reasoning.encrypted_content",  # reasoning is sent as it is, and taken back as it is
        # of what this server has none of
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)


def fault_of(include: Iterable[str]) -> str | None:
    """What is wrong with it."""
    unknown = next((one for one in include if one not in INCLUDABLE), None)
    return None if unknown is None else f"has {unknown[:64]}; must have only {', '.join(sorted(INCLUDABLE))}"
