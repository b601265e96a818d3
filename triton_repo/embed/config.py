"""The Triton configuration of an encoder's model, and what else is in its model repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tritonclient.grpc import model_config_pb2 as pb

from triton_repo.contract.model_card import CARD_PARAMETER
from triton_repo.embed.settings import EncoderConfig
from triton_repo.embed.wire import INPUTS, MAX_ROWS, OUTPUTS
from triton_repo.model_config import python_model, to_pbtxt


def model_config(config: EncoderConfig) -> pb.ModelConfig:
    """Triton's batches are calls of the model; those that it computes are its own, and cross requests."""
    model = python_model(config.name, INPUTS, OUTPUTS, max_batch_size=MAX_ROWS)
    model.dynamic_batching.preferred_batch_size.extend(config.preferred_batch_size)
    model.dynamic_batching.max_queue_delay_microseconds = config.max_queue_delay_microseconds
    model.response_cache.enable = config.response_cache_bytes > 0
    model.parameters[CARD_PARAMETER].string_value = config.card.to_json()
    return model


def render(config: EncoderConfig) -> Mapping[PurePosixPath, bytes]:
    """Relative path -> content of every file of the repository. Nothing in it names an absolute path."""
    source = Path(__file__).parent / "1" / "model.py"
    return {
        PurePosixPath(config.name, "config.pbtxt"): to_pbtxt(model_config(config)).encode(),
        PurePosixPath(config.name, "1", "model.py"): source.read_bytes(),
    }
