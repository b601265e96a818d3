"""NeMo 2 and Megatron-Bridge checkpoints, whose weights torch's own distributed checkpointing writes."""

from __future__ import annotations

import io
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.distributed.checkpoint import filesystem, state_dict_saver
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from tests.build_scripts.weights.nemo.nemo_checkpoints import State, provider_config


def stacked(state: State) -> State:
    """All layers on the first axis of one tensor, whose key has no number."""
    layers: dict[str, list[torch.Tensor]] = {}
    result: State = {}
    for name, tensor in state.items():
        if name.startswith("decoder.layers."):
            _, _, _, rest = name.split(".", 3)
            layers.setdefault(f"decoder.layers.{rest}", []).append(tensor)
        else:
            result[name] = tensor
    return {**result, **{name: torch.stack(tensors) for name, tensors in layers.items()}}


class Sharded(torch.Tensor):
    """A tensor whose chunks torch writes one by one, as it does for the ranks of a training: `cuts` per axis."""

    chunks: list[tuple[torch.Size, torch.Size]]

    @classmethod
    def of(cls, tensor: torch.Tensor, cuts: tuple[int, ...]) -> Sharded:
        sharded = tensor.as_subclass(cls)
        sizes = [size // cut for size, cut in zip(tensor.shape, cuts, strict=True)]
        steps = [range(0, size * cut, size) for size, cut in zip(sizes, cuts, strict=True)]
        sharded.chunks = [(torch.Size(offsets), torch.Size(sizes)) for offsets in itertools.product(*steps)]
        return sharded

    def __create_write_items__(self, name: str, _: object) -> list[WriteItem]:
        properties = TensorProperties.create_from_tensor(self)
        return [
            WriteItem(
                index=MetadataIndex(name, offsets, index),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(ChunkStorageMetadata(offsets, sizes), properties, self.size()),
            )
            for index, (offsets, sizes) in enumerate(self.chunks)
        ]

    def __get_tensor_shard__(self, index: MetadataIndex) -> torch.Tensor:
        offsets, sizes = self.chunks[index.index or 0]
        return self.as_subclass(torch.Tensor)[
            tuple(slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))
        ]


def write_torch_dist(directory: Path, state: State, prefix: str = "module.", tp: int = 1) -> Path:
    """What `torch.distributed.checkpoint` writes of a training on `tp` tensor ranks, beside an optimizer's state."""
    named: dict[str, Any] = {}
    for name, tensor in state.items():
        rows, columns = (1, tp) if name.endswith(("linear_proj.weight", "linear_fc2.weight")) else (tp, 1)
        cuts = (1, 1) if "norm" in name or name.endswith(("linear_proj.bias", "linear_fc2.bias")) else (rows, columns)
        is_stacked = name.startswith("decoder.layers.") and not name.split(".")[2].isdigit()
        layers = (tensor.shape[0],) if is_stacked else ()
        dimensions = tensor.dim() - len(layers)
        named[f"{prefix}{name}"] = Sharded.of(tensor, (*layers, *cuts[:dimensions]))
    named[f"{prefix}decoder.layers.self_attention.core_attention._extra_state/shard_0_2"] = io.BytesIO(b"x")
    named["optimizer.state.exp_avg.module.output_layer.weight"] = torch.zeros(3)
    named["rng_state"] = io.BytesIO(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is a single process
        state_dict_saver.save(
            named, storage_writer=filesystem.FileSystemWriter(directory, single_file_per_rank=False), no_dist=True
        )
    (directory / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist", "common_backend": "torch"}))
    return directory


def make_nemo2(path: Path, directory: Path, state: State, tp: int = 1, **config: Any) -> Path:
    (path / "context" / "nemo_tokenizer").mkdir(parents=True)
    model = {
        "_target_": "nemo.collections.llm.gpt.model.llama.LlamaModel",
        "config": provider_config(directory, **config),
    }
    (path / "context" / "model.yaml").write_text(yaml.safe_dump(model))
    write_torch_dist(path / "weights", state, tp=tp)
    return path


def make_bridge(path: Path, directory: Path, state: State, tp: int = 1, **config: Any) -> Path:
    iteration = path / "iter_0000010"
    write_torch_dist(iteration, state, prefix="", tp=tp)
    (iteration / "run_config.yaml").write_text(yaml.safe_dump({"model": provider_config(directory, **config)}))
    (path / "latest_checkpointed_iteration.txt").write_text("10")
    return path
