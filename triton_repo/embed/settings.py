"""What an encoder's model in Triton knows of itself: `model/facts.json` from the export, `encoder.json` as it runs.

Readers ignore fields that they do not know: a newer version may have written them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.placement.memory import MemoryNeed
from triton_repo.contract.placement.settings import Placement

Kind = Literal["embed", "rerank", "classify"]
Activation = Literal["identity", "sigmoid", "softmax"]

MODEL_FILE: Final = "openvino_model.xml"
FACTS_FILE: Final = "facts.json"
_Tokens = Annotated[int, Field(ge=1)]


class EncoderFacts(BaseModel):
    """What the checkpoint says.

    Attributes:
        width: numbers that the model gives for one text.
        max_tokens: of one text, special tokens included: more the model cannot read.
        usual_tokens: the checkpoint's own limit, which may be lower.
        token_types: the model takes them as an input.
        activation: what turns its numbers into what a client gets.
        shorter_widths: to which an embedding may be cut; () is any, None is none.
        labels: of a classifier, one for each number.
        prompts: texts by name, one of which may be put before what a client sends.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Kind
    width: _Tokens
    vocab_size: _Tokens
    max_tokens: _Tokens
    usual_tokens: _Tokens
    pad_token_id: Annotated[int, Field(ge=0)] = 0
    token_types: bool = False
    activation: Activation = "identity"
    normalized: bool = False
    shorter_widths: tuple[int, ...] | None = None
    labels: tuple[str, ...] = ()
    prompts: Mapping[str, str] = Field(default_factory=dict)
    default_prompt: str | None = None

    @classmethod
    def load(cls, model: Path) -> EncoderFacts:
        """Of the exported model in the directory `model`."""
        return cls.model_validate_json((model / FACTS_FILE).read_bytes())


class EncoderConfig(BaseModel):
    """One encoder as it runs. `max_num_tokens` bounds one computation, padding included, but for a single text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    max_seq_len: _Tokens
    max_batch_size: _Tokens
    max_num_tokens: _Tokens
    num_threads: Annotated[int, Field(ge=1)] | None = None
    max_step_s: Annotated[float, Field(ge=0)] = 120.0
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: Annotated[int, Field(ge=0)] = 0
    response_cache_bytes: Annotated[int, Field(ge=0)] = 0
    placement: Placement = Placement()
    memory: MemoryNeed | None = None
    facts: EncoderFacts
    card: ModelCard

    @classmethod
    def load(cls, directory: Path) -> EncoderConfig:
        """Of the built engine in `directory`."""
        return cls.model_validate_json(EngineDirectory(directory).encoder_config_file.read_bytes())
