"""The Triton configuration of an encoder's model, and what else is in its model repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from tritonclient.grpc import model_config_pb2 as pb

from triton_repo.contract.model_card import CARD_PARAMETER
from triton_repo.contract.placement.settings import MAX_PRIORITY, Placement
from triton_repo.embed.settings import EncoderConfig
from triton_repo.embed.wire import INPUTS, MAX_ROWS, OUTPUTS
from triton_repo.model_config import python_model, to_pbtxt

# Triton looks at one model alone of those that wait for their turn: the one whose calls so far, times its priority, are
# fewest. While that one waits for a resource none of the others is called, though it needs none: so the encoders come
# behind all other models. (Triton's src/rate_limiter.cc, AttemptAllocation.) It keeps the product in 64 bits.
_BEHIND_OTHERS: Final = 2**32 // (MAX_PRIORITY + 1)


def model_config(config: EncoderConfig) -> pb.ModelConfig:
    """Triton's batches are calls of the model; those that it computes are its own, and cross requests."""
    model = python_model(config.name, INPUTS, OUTPUTS, max_batch_size=MAX_ROWS)
    _place(model, config.placement)
    model.dynamic_batching.preferred_batch_size.extend(config.preferred_batch_size)
    model.dynamic_batching.max_queue_delay_microseconds = config.max_queue_delay_microseconds
    model.response_cache.enable = config.response_cache_bytes > 0
    model.parameters[CARD_PARAMETER].string_value = config.card.to_json()
    return model


def _place(model: pb.ModelConfig, placement: Placement) -> None:
    """Each instance is a process, whose number is the last word of its name."""
    group, batching = model.instance_group[0], model.dynamic_batching
    group.count = placement.instances
    if placement.rate_limiter is not None:
        group.rate_limiter.priority = placement.rate_limiter.priority * _BEHIND_OTHERS
        for name, units in placement.rate_limiter.resources.items():
            resource = pb.ModelRateLimiter.Resource(name=name, count=units)
            setattr(resource, "global", True)  # the server's, and not those of one GPU
            group.rate_limiter.resources.append(resource)
    if placement.priority_levels:
        batching.priority_levels = placement.priority_levels
        batching.default_priority_level = placement.default_priority_level


def render(config: EncoderConfig) -> Mapping[PurePosixPath, bytes]:
    """Relative path -> content of every file of the repository. Nothing in it names an absolute path."""
    source = Path(__file__).parent / "1" / "model.py"
    return {
        PurePosixPath(config.name, "config.pbtxt"): to_pbtxt(model_config(config)).encode(),
        PurePosixPath(config.name, "1", "model.py"): source.read_bytes(),
    }
