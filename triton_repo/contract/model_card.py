"""The model card: what a client can learn of an engine from Triton alone, in the parameters of the ensemble's config.

The gateway may be older or newer than the build that wrote the card: fields that it does not know are ignored, and
those that the build did not know have defaults.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from triton_repo.contract.errors import ModelOfAnotherKind
from triton_repo.contract.sampling import LOGIT_BIAS_FIELD

CARD_PARAMETER: Final = "conch"
GENERATE: Final = "generate"
_DOES: Final = {
    GENERATE: "generates text",
    "embed": "makes embeddings",
    "rerank": "scores pairs of texts",
    "classify": "classifies texts",
}


@dataclass(frozen=True, slots=True)
class EncoderCard:
    kind: str  # embed, rerank or classify
    width: int  # numbers for one text
    shorter_widths: tuple[int, ...] | None = None  # to which an embedding may be cut; () is any, None is none
    labels: tuple[str, ...] = ()  # of a classifier
    prompts: tuple[str, ...] = ()  # names of those that may be put before a text


# Arguments of public chat templates: those that turn reasoning on and off, and the one that says how much of it.
REASONING_SWITCHES: Final = ("enable_thinking", "thinking")
REASONING_EFFORT: Final = "reasoning_effort"


@dataclass(frozen=True, slots=True)
class ReasoningCard:
    """How a model reasons.

    Attributes:
        parser: what tells its reasoning apart; None leaves it in the text.
        switch: the argument of its chat template that turns reasoning on and off.
        reads_effort: the template reads the argument `reasoning_effort`.
        tail: how a prompt ends right before the answer, which may be within the reasoning; `tail_on` and `tail_off` the
            same where the switch says so.
    """

    parser: str | None = None
    switch: str | None = None
    reads_effort: bool = False
    tail: str = ""
    tail_on: str = ""
    tail_off: str = ""


@dataclass(frozen=True, slots=True)
class ModelCard:
    max_seq_len: int  # tokens, prompt and answer together
    runtime: str
    created: int = 0  # unix seconds of the build
    chat: bool = False  # the checkpoint has a chat template
    source: str = ""  # where the checkpoint came from
    unsupported: tuple[str, ...] = ()  # sampling fields that this engine rejects, besides those of `rejected`
    max_logprobs: int = 0  # how many alternatives to a token it can report
    max_prompt_logprobs: int | None = None  # to a token of a prompt; None: those have no logprobs
    max_prompt_bytes: int | None = None  # no text of more fits into `max_seq_len` tokens
    max_batch_size: int | None = None  # sequences that the engine works on at once
    kv_cache_tokens: int | None = None  # of all of them together; None where the engine finds out when it starts
    tool_parser: str | None = None  # what reads the tool calls that the model writes; None leaves them as text
    reasoning: ReasoningCard | None = None  # None: its answers have none, and its template reads nothing of it
    guides: tuple[str, ...] = ()  # types of guides that it follows
    adapters: tuple[str, ...] = ()  # LoRA adapters that a request may name
    max_adapters: int = 0  # there is room for so many (`room`)
    encoder: EncoderCard | None = None  # of an engine that writes no text
    logit_bias: bool = False  # requests may change the logits of tokens

    @property
    def rejected(self) -> tuple[str, ...]:
        """Sampling fields that this engine rejects. A card from before `logit_bias` does not name it."""
        return self.unsupported if self.logit_bias else (*self.unsupported, LOGIT_BIAS_FIELD)

    @property
    def room(self) -> int:
        """For so many adapters. A card from before `max_adapters` has none: there is room for those of the build."""
        return max(self.max_adapters, len(self.adapters))

    @property
    def kind(self) -> str:
        """What the engine is for."""
        return GENERATE if self.encoder is None else self.encoder.kind

    def check_kind(self, model: str, *kinds: str) -> None:
        """
        Raises:
            ModelOfAnotherKind: the engine, of this name, is of none of the `kinds`.
        """
        if self.kind not in kinds:
            does, wanted = _DOES.get(self.kind, self.kind), " or ".join(_DOES[kind] for kind in kinds)
            message = f"model {model!r} {does}: this endpoint needs a model that {wanted}"
            raise ModelOfAnotherKind(message, "model")

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
