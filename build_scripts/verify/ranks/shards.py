"""A TensorRT-LLM checkpoint, opened: its configuration, and the tensors of each rank when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from build_scripts.verify.ranks.shard_config import ShardConfig
from build_scripts.verify.ranks.tensors import LAYER, ROUTER, Shape, layer_shapes, stage_shapes
from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError
from triton_repo.contract.sampling import invalid_request

if TYPE_CHECKING:
    import torch

_FORMAT_DTYPES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True, slots=True)
class Shards:
    """An opened checkpoint: every rank's file has the tensors that `config` asks for, in shape and dtype."""

    directory: Path
    config: ShardConfig

    def path(self, rank: int) -> Path:
        return self.directory / f"rank{rank}.safetensors"

    def names(self, stage: int, tp_ranks: Sequence[int]) -> tuple[str, ...]:
        """Of the files of these ranks of a stage."""
        return tuple(self.path(stage * self.config.mapping.tp_size + tp_rank).name for tp_rank in tp_ranks)

    @property
    def file_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("rank*.safetensors"))

    def read(self, rank: int, *names: str) -> dict[str, torch.Tensor]:
        """Those tensors of `names` that are there, as float32. Raises: BuildError: the file cannot be read."""
        with _opened(self.path(rank)) as file:
            there = set(file.keys())
            return {name: file.get_tensor(name).float() for name in names if name in there}

    def read_rows(self, rank: int, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows start…stop as float32."""
        with _opened(self.path(rank)) as file:
            rows: torch.Tensor = file.get_slice(name)[start:stop]
            return rows.float()

    def layer(self, rank: int, local: int) -> dict[str, torch.Tensor]:
        """The tensors of one layer, which is number `local` of its stage, without the layer's prefix; as float32."""
        with _opened(self.path(rank)) as file:
            return {name: file.get_tensor(f"{LAYER}.{local}.{name}").float() for name in layer_shapes(self.config)}


def open_shards(directory: Path) -> Shards:
    """Read `config.json` and the headers of all ranks.

    Raises:
        BuildError: something is missing, surplus, of another shape or dtype, or not what can be run here.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise BuildError(f"{directory}: no config.json: not a TensorRT-LLM checkpoint")
    try:
        config = ShardConfig.model_validate(parse_object(path.read_bytes(), str(path)))
    except ValidationError as error:
        raise BuildError(f"{path}: {invalid_request(error).message}") from error
    mapping = config.mapping
    if mapping.world_size != mapping.tp_size * mapping.pp_size:
        raise BuildError(f"{path}: mapping.world_size = {mapping.world_size}; must be tp_size × pp_size")
    if config.moe is not None and mapping.moe_tp_size * mapping.moe_ep_size not in {1, mapping.tp_size}:
        raise BuildError(f"{path}: mapping.moe_tp_size = {mapping.moe_tp_size}; × moe_ep_size must be tp_size")
    shards = Shards(directory, config)
    for rank in range(mapping.world_size):
        _check(shards.path(rank), stage_shapes(config, rank // mapping.tp_size), _FORMAT_DTYPES[config.dtype])
    return shards


def _check(path: Path, shapes: Mapping[str, Shape], dtype: str) -> None:
    if not path.is_file():
        raise BuildError(f"{path}: missing; config.json lists this rank")
    with _opened(path) as file:
        names = set(file.keys())
        for name in sorted(names ^ shapes.keys()):
            raise BuildError(f"{path}: {name} is {'surplus' if name in names else 'missing'}")
        for name, shape in shapes.items():
            tensor = file.get_slice(name)
            found = (tensor.get_dtype(), tuple(tensor.get_shape()))
            wanted = "F32" if name.endswith(ROUTER) else dtype
            if found != (wanted, shape):
                raise BuildError(f"{path}: {name}: {found[0]} {list(found[1])}; must be {wanted} {list(shape)}")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise BuildError(f"{path}: {error}") from error
