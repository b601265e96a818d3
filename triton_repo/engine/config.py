"""The Triton configuration of NAME_engine."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from triton_repo.contract.steps import ENGINE_INPUTS, ENGINE_OUTPUTS, step_model
from triton_repo.model_config import python_model

# Requests that Triton may hand over in one call. The size of the batch that the engine runs is independent of it.
MAX_BATCH_SIZE = 64


def model_config(engine: str) -> pb.ModelConfig:
    return python_model(
        step_model(engine, "engine"), ENGINE_INPUTS, ENGINE_OUTPUTS, max_batch_size=MAX_BATCH_SIZE, decoupled=True
    )
