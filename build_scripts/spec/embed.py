"""`[embed]` of a spec: how an encoder's texts are gathered into batches, and what its checkpoint leaves open."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.sampling import INT32_MAX

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


class EmbedSection(BaseModel):
    """`[embed]`: of engines of runtime `embed`.

    `pooling` and `normalize` replace what sentence-transformers' files in the checkpoint say (None leaves it; without
    them `mean`, and no normalization): a change needs a new build. `matryoshka_dimensions` are the sizes to which
    requests may have embeddings cut; None is what the checkpoint says, which few do. `preferred_batch_size` and
    `max_queue_delay_microseconds` are those of Triton's dynamic batching: requests wait for others at most so long;
    with 0 they are computed together only while others are being computed. `response_cache_bytes` is what Triton may
    keep of answers to texts that may come again; 0 keeps none.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    pooling: Pooling | None = None
    normalize: bool | None = None
    matryoshka_dimensions: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] | None = None
    preferred_batch_size: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(strict=False, max_length=16)
    ] = ()
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    response_cache_bytes: Annotated[int, Field(ge=0, le=INT32_MAX)] = 0
