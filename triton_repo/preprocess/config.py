"""The Triton configuration of NAME_preprocess."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from triton_repo.contract.steps import PREPROCESS_INPUTS, PREPROCESS_OUTPUTS, TOKENIZE_OUTPUTS, step_model
from triton_repo.model_config import python_model

MAX_BATCH_SIZE = 64


def model_config(engine: str) -> pb.ModelConfig:
    outputs = (*PREPROCESS_OUTPUTS, *TOKENIZE_OUTPUTS)
    return python_model(step_model(engine, "preprocess"), PREPROCESS_INPUTS, outputs, max_batch_size=MAX_BATCH_SIZE)
