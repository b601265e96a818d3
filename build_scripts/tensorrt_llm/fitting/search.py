"""`--plan --search`: which split and which quantization fit the GPUs, and how many sequences each holds at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console

from build_scripts.architectures import Decoder, decoder_of, family_of
from build_scripts.engine.builder import Step
from build_scripts.sizing import ModelShape, model_shape
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.tensorrt_llm.fitting.memory import Stage, Weights, stages
from build_scripts.tensorrt_llm.fitting.rules import allowed_sizes, check_head_size_of
from build_scripts.tensorrt_llm.fitting.stored import Stored
from build_scripts.tensorrt_llm.fitting.tables import gb, gpu_json, table
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.limits import most_stages
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.plan import Asked
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS, Quantization
from build_scripts.weights.huggingface import read_config
from build_scripts.weights.view import ITEM_SIZES
from triton_repo.contract.errors import SpecError

SEARCHED_LENGTH: Final = 8192  # tokens of a sequence, or what the engine takes where that is less
_ONE_MACHINE: Final = 8  # GPUs, where none are counted


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the model; the figures are those of the fullest rank. `sequences` 0: it does not fit."""

    parallel: Parallelism
    quantization: str
    weight_bytes: int
    kv_bytes_per_token: int
    sequences: int


@dataclass(frozen=True, slots=True)
class SearchPreview:
    """Every candidate for `gpus`, by the length of the sequences that it holds."""

    name: str
    shape: ModelShape
    gpus: Gpus
    length: int
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return ()

    @property
    def best(self) -> Candidate | None:
        """The most sequences; of equals the fewest GPUs, and the most precise weights."""
        order = {name: place for place, name in enumerate(QUANTIZATIONS)}
        fitting = [candidate for candidate in self.candidates if candidate.sequences]
        return max(
            fitting,
            key=lambda each: (each.sequences, -each.parallel.world_size, -order.get(each.quantization, 0)),
            default=None,
        )

    def to_json(self) -> dict[str, Any]:
        best = self.best
        return {
            "engine": self.name,
            "architecture": self.shape.architecture,
            "parameters": self.shape.parameters,
            "gpu": gpu_json(self.gpus),
            "sequence_length": self.length,
            "candidates": [_json(candidate) for candidate in self.candidates],
            "best": None if best is None else _json(best),
            "notes": list(self.notes),
        }

    def print(self, console: Console) -> None:
        console.print(
            f"{self.name}: {self.shape.architecture}, {self.shape.parameters:,} parameters on {self.gpus.gpu.name} "
            f"({gb(self.gpus.gpu.memory_bytes)}): sequences of {self.length:,} tokens at once"
        )
        rows = table(
            "tp × pp", "GPUs", "quantization", "weights on GPU", "KV per token and GPU", "sequences", "per GPU", ""
        )
        for each in self.candidates:
            world = each.parallel.world_size
            rows.add_row(
                f"{each.parallel.tp_size} × {each.parallel.pp_size}",
                str(world),
                each.quantization,
                gb(each.weight_bytes),
                f"{each.kv_bytes_per_token / 1024:,.1f} KiB",
                f"{each.sequences:,}" if each.sequences else "does not fit",
                f"{each.sequences / world:,.1f}" if each.sequences else "",
                "most" if each == self.best else "",
            )
        console.print(rows)
        for note in self.notes:
            console.print(note, markup=False)


def search(
    spec: EngineSpec, asked: Asked, checkpoint: Checkpoint, stored: Stored | None, gpus: Gpus | None
) -> SearchPreview:
    """Raises: SpecError: there is no GPU to search for. BuildError: the sizes of the model are not known."""
    if gpus is None:
        raise SpecError("--search: needs a GPU to fit: --gpu 8xh100-80gb")
    config = read_config(checkpoint.directory, checkpoint.source)
    shape = model_shape(config, checkpoint.source)
    check_head_size_of(shape, checkpoint.source)
    sharded = spec.build.flow == "compiled" and family_of(config) is not None
    decoder = decoder_of(config, checkpoint.source) if sharded else None
    length = min(SEARCHED_LENGTH, asked.limits.max_seq_len)
    limits = replace(asked.limits, max_seq_len=length, adapters=None)
    found = []
    for quantization, how in _formats(spec, asked, gpus):
        weights = Weights(ITEM_SIZES[asked.dtype], how, stored is not None and stored.plain_attention)
        for parallel in _splits(shape, gpus.count or _ONE_MACHINE, decoder):
            each = stages(shape, parallel, weights, limits, gpus.gpu.memory_bytes)
            found.append(_candidate(parallel, quantization, each))
    return SearchPreview(spec.name, shape, gpus, length, tuple(found), asked.notes)


def _formats(spec: EngineSpec, asked: Asked, gpus: Gpus) -> Iterator[tuple[str, Quantization]]:
    """What the GPU computes in; the PyTorch flow runs a checkpoint as it is."""
    if spec.build.flow == "pytorch":
        yield asked.quantization, asked.how
        return
    for name, how in QUANTIZATIONS.items():
        if gpus.gpu.capability is None or gpus.gpu.capability >= how.capability:
            yield name, how


def _splits(shape: ModelShape, count: int, decoder: Decoder | None) -> Iterator[Parallelism]:
    """Splits over powers of two of GPUs, which machines have, and over all of them.

    `decoder` is a model that is sharded here, None for any other.
    """
    stages = len(shape.layers) if decoder is None else most_stages(decoder, count)
    for world in sorted({count, *(1 << power for power in range(count.bit_length()) if 1 << power <= count)}):
        for tp_size in reversed(allowed_sizes(shape, min(world, _ONE_MACHINE))):
            if world % tp_size == 0 and world // tp_size <= stages:
                yield Parallelism(tp_size, world // tp_size)


def _candidate(parallel: Parallelism, quantization: str, stages: Sequence[Stage]) -> Candidate:
    fitting = [stage.sequences for stage in stages if stage.sequences is not None]
    return Candidate(
        parallel,
        quantization,
        max(stage.weight_bytes for stage in stages),
        int(max(stage.kv_bytes_per_token for stage in stages)),
        min(fitting, default=0),
    )


def _json(candidate: Candidate) -> dict[str, Any]:
    return {
        "tensor_parallel": candidate.parallel.tp_size,
        "pipeline_parallel": candidate.parallel.pp_size,
        "quantization": candidate.quantization,
        "weight_bytes": candidate.weight_bytes,
        "kv_bytes_per_token": candidate.kv_bytes_per_token,
        "sequences": candidate.sequences,
    }
