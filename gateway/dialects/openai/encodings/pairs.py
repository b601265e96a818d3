"""How well texts go together: by a model that reads pairs, or by the embeddings of one that reads texts.

The second is the cosine of the angle between both embeddings, which is what vLLM answers with such a model too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from gateway.answers.encoding import EncodingRequest, Numbers
from gateway.dialects.openai.encodings.embeddings import normalized
from gateway.dialects.openai.encodings.operation import ScoringBody
from triton_repo.contract.model_card import ModelCard

_KINDS = ("rerank", "embed")


def pair_request(body: ScoringBody, card: ModelCard, firsts: Sequence[str], seconds: Sequence[str]) -> EncodingRequest:
    """For the scores of each of `seconds` with the one of `firsts`, or with the one at its place."""

    def row_name(row: int) -> str:
        return body.second_name.format(row) if row < len(seconds) else body.first_name.format(row - len(seconds))

    card.check_kind(body.model, *_KINDS)
    common = partial(EncodingRequest, body.model, _KINDS, options=body.scoring_options(), row_name=row_name)
    if card.kind == "embed":
        return common([text.encode() for text in (*seconds, *firsts)])
    left = [text.encode() for text in firsts] * (len(seconds) if len(firsts) == 1 else 1)
    return common(left, [text.encode() for text in seconds])


def scores(numbers: Numbers, card: ModelCard, num_pairs: int) -> list[float]:
    """Of each pair."""
    if card.kind == "embed":
        unit = normalized(numbers)
        return [float(score) for score in np.sum(unit[:num_pairs] * unit[num_pairs:], axis=1, dtype=np.float64)]
    return [float(score) for score in numbers[:, 0]]
