"""Models beside the engines that answer with what they are asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from gateway.answers.inference.models import Inference, Inferred, Json, ModelVersion, other_model_not_found
from triton_repo.contract.errors import RequestError

SLOW, ENSEMBLE = "slow", "ensemble"


class NoOtherModels:
    """Those of a server that has none."""

    async def metadata(self, model: ModelVersion) -> Json:
        raise other_model_not_found(model)

    async def configuration(self, model: ModelVersion) -> Json:
        raise other_model_not_found(model)

    async def statistics(self, model: ModelVersion) -> Json:
        raise other_model_not_found(model)

    async def is_ready(self, _: ModelVersion) -> bool:
        return False

    async def infer(self, inference: Inference) -> Inferred:
        raise other_model_not_found(inference.model)

    async def server_version(self) -> str:
        return ""


@dataclass
class EchoModels(NoOtherModels):
    """Every output is the input of the same place, under the name that is asked for; a model named SLOW never ends,
    and one named ENSEMBLE has steps."""

    ready: bool = True
    error: RequestError | None = None
    sequence_ids: str | None = None  # their type, of a model that is told them
    asked: list[Inference] = field(default_factory=list)
    cancelled: list[Inference] = field(default_factory=list)

    async def metadata(self, model: ModelVersion) -> Json:
        tensor = {"name": "x", "datatype": "INT32", "shape": [-1, 2]}
        versions = [model.version or "1"]
        return {"name": model.name, "versions": versions, "platform": "echo", "inputs": [tensor], "outputs": [tensor]}

    async def configuration(self, model: ModelVersion) -> Json:
        told = {"name": model.name, "platform": "", "backend": "python", "max_batch_size": 8, "input": []}
        if model.name == ENSEMBLE:
            return {**told, "ensemble_scheduling": {"step": [{"model_name": "plain"}, {"model_name": "echo"}]}}
        if self.sequence_ids is None or model.name != "echo":
            return told
        control = {"kind": "CONTROL_SEQUENCE_CORRID", "data_type": self.sequence_ids}
        start = {"kind": "CONTROL_SEQUENCE_START", "data_type": "TYPE_INVALID"}
        inputs = [{"name": "START", "control": [start]}, {"name": "ID", "control": [control]}]
        return {**told, "sequence_batching": {"control_input": inputs}}

    async def statistics(self, model: ModelVersion) -> Json:
        return {"model_stats": [{"name": model.name, "version": "1", "inference_count": len(self.asked)}]}

    async def is_ready(self, _: ModelVersion) -> bool:
        return self.ready

    async def infer(self, inference: Inference) -> Inferred:
        self.asked.append(inference)
        if self.error is not None:
            raise self.error
        if inference.model.name == SLOW:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(inference)
                raise
        names = [output.name for output in inference.outputs] or [tensor.name for tensor in inference.inputs]
        outputs = [
            replace(tensor, name=name, parameters={}) for name, tensor in zip(names, inference.inputs, strict=False)
        ]
        return Inferred(ModelVersion(inference.model.name, inference.model.version or "1"), inference.id, {}, outputs)
