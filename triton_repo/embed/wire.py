"""The wire format of an encoder's model in Triton: its tensors by name, type and shape, declared once.

A request has rows, each a text, a pair of texts, or token ids; dims leave out the number of rows. What a request may
say beside them is a tensor too: Triton's response cache knows requests by their tensors, and not by their parameters.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.sampling import INT32_MAX
from triton_repo.contract.tensors import PROMPT_TOKEN_IDS, TEXT_INPUT, Tensor

TEXT_PAIR: Final = Tensor("text_pair", "BYTES")  # of a pair the second text, the first is TEXT_INPUT
OPTIONS: Final = Tensor("options", "BYTES")  # JSON of `Options`, in every row the same; default: `Options()`
VALUES: Final = Tensor("values", "FP32", (-1,), optional=False)  # an embedding, a score, or a number for each class
NUM_TOKENS: Final = Tensor("num_tokens", "INT32", optional=False)  # that the model has read

INPUTS: Final = (TEXT_INPUT, TEXT_PAIR, PROMPT_TOKEN_IDS, OPTIONS)
OUTPUTS: Final = (VALUES, NUM_TOKENS)
MAX_ROWS: Final = 64
ROW_AT_FAULT: Final = re.compile(r"row (\d+): ")  # begins the message of an error in one row


class Options(BaseModel):
    """What one request asks for, beside its texts.

    Attributes:
        truncate_to: texts of more tokens are cut to so many; 0 is as many as the model takes; None rejects them.
        truncate_side: where they are cut.
        prompt_name: the prompt that is put before each text; None is the model's own default, if it has one.
        activation: whether scores and classes are turned into probabilities, as the model says how.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    truncate_to: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = None
    truncate_side: Literal["left", "right"] = "right"
    prompt_name: Annotated[str, Field(max_length=64)] | None = None
    activation: bool = True
