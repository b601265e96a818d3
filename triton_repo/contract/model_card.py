"""The model card: what a client can learn of an engine from Triton alone, in the parameters of the ensemble's config.

The gateway may be older or newer than the build that wrote the card: fields that it does not know are ignored, and
those that the build did not know have defaults.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

CARD_PARAMETER: Final = "conch"


@dataclass(frozen=True, slots=True)
class ModelCard:
    max_seq_len: int  # tokens, prompt and answer together
    runtime: str
    created: int = 0  # unix seconds of the build
    chat: bool = False  # the checkpoint has a chat template
    source: str = ""  # where the checkpoint came from
    unsupported: tuple[str, ...] = ()  # sampling fields that this engine rejects
    max_logprobs: int = 0  # how many alternatives to a token it can report
    max_prompt_bytes: int | None = None  # no text of more fits into `max_seq_len` tokens
    max_batch_size: int | None = None  # sequences that the engine works on at once
    kv_cache_tokens: int | None = None  # of all of them together; None where the engine finds out when it starts
    tool_parser: str | None = None  # what reads the tool calls that the model writes; None leaves them as text
    reasoning_parser: str | None = None  # what tells its reasoning apart; None leaves it in the text

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """
        Raises:
            ValueError: not a card; the message names the field that is missing or wrong.
        """
        try:
            return _ADAPTER.validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"model card: {field + ': ' if field else ''}{first['msg']}") from error


_ADAPTER: Final = TypeAdapter(ModelCard)
