"""The sizes of a split model's largest rank, for whoever puts several engines onto one GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from build_scripts.sizing import model_shape
from build_scripts.sizing.ranks import RankSizes
from build_scripts.tensorrt_llm.fitting.memory import Weights, stages
from build_scripts.tensorrt_llm.sharding.plan import Asked
from triton_repo.contract.errors import BuildError


def rank_sizes(config: Mapping[str, Any], source: str, asked: Asked, weights: Weights) -> RankSizes | None:
    """None where the layers are of kinds that are not counted; what no stage exceeds where they differ."""
    try:
        shape = model_shape(config, source)
    except BuildError:
        return None
    every = stages(shape, asked.parallel, weights, asked.limits, None)
    return RankSizes(
        weight_bytes=max(stage.weight_bytes for stage in every),
        working_bytes=max(stage.activation_bytes for stage in every) + asked.limits.reserve_bytes,
        kv_bytes_per_token=max(stage.kv_bytes_per_token for stage in every),
        state_bytes=max(stage.state_bytes for stage in every),
    )
