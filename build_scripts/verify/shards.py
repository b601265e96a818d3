"""A TensorRT-LLM checkpoint read back from disk as TensorRT-LLM 1.2 reads it, independent of the code that wrote it.

The layout is written down here a second time, from TensorRT-LLM's own models (models/llama/model.py,
models/qwen/model.py, mapping.py), and the files are read by the safetensors library: a mistake of the sharder or of our
own reader cannot hide behind itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError
from triton_repo.contract.sampling import Count, invalid_request

if TYPE_CHECKING:
    import torch

_FORMAT_DTYPES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_LAYER: Final = "transformer.layers"
EMBEDDING: Final = "transformer.vocab_embedding.weight"
FINAL_NORM: Final = "transformer.ln_f.weight"
HEAD: Final = "lm_head.weight"


class MappingConfig(BaseModel):
    """`mapping` of `config.json`; ranks are numbered with the tensor-parallel ranks of a stage together."""

    model_config = ConfigDict(frozen=True)

    world_size: Count
    tp_size: Count
    pp_size: Count


class Quantization(BaseModel):
    """`quantization` of `config.json`: there must be none."""

    model_config = ConfigDict(frozen=True)

    quant_algo: None = None


class RotaryScaling(BaseModel):
    """`rotary_scaling` of `config.json`; what is absent is what TensorRT-LLM then takes."""

    model_config = ConfigDict(frozen=True)

    rope_type: Literal["linear", "dynamic", "llama3"] = Field(validation_alias=AliasChoices("rope_type", "type"))
    factor: float = Field(gt=0)
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: Count = 8192


class ShardConfig(BaseModel):
    """`config.json` of a TensorRT-LLM checkpoint: the keys that decide what is computed."""

    model_config = ConfigDict(frozen=True)

    architecture: Literal["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"]
    dtype: Literal["float32", "float16", "bfloat16"]
    vocab_size: Count
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_size: Count
    intermediate_size: Count
    max_position_embeddings: Count
    hidden_act: Literal["silu"]
    norm_epsilon: float
    position_embedding_type: Literal["rope_gpt_neox"]
    rotary_base: float
    rotary_scaling: RotaryScaling | None = None
    attn_bias: bool = False
    mlp_bias: bool = False
    qk_layernorm: bool = False
    use_parallel_embedding: Literal[False] = False
    mapping: MappingConfig
    quantization: Quantization = Quantization()

    @property
    def q_size(self) -> int:
        """Rows of q on one rank."""
        return self.num_attention_heads // self.mapping.tp_size * self.head_size

    @property
    def kv_size(self) -> int:
        """Rows of k, and of v, on one rank: at least one head."""
        return max(1, self.num_key_value_heads // self.mapping.tp_size) * self.head_size

    @property
    def head_rows(self) -> int:
        """Rows of lm_head on one rank, with the padding."""
        return -(-self.vocab_size // self.mapping.tp_size)

    def stages(self) -> list[range]:
        """The layers of each pipeline stage."""
        share, rest = divmod(self.num_hidden_layers, self.mapping.pp_size)
        sizes = [share + 1] * rest + [share] * (self.mapping.pp_size - rest)
        return [range(sum(sizes[:stage]), sum(sizes[: stage + 1])) for stage in range(len(sizes))]

    def stage_of(self, layer: int) -> int:
        return next(number for number, layers in enumerate(self.stages()) if layer in layers)

    def shapes(self, stage: int) -> dict[str, tuple[int, ...]]:
        """The tensors of a rank of this stage."""
        hidden, shapes = self.hidden_size, dict[str, tuple[int, ...]]()
        if stage == 0:
            shapes[EMBEDDING] = (self.vocab_size, hidden)
        for local in range(len(self.stages()[stage])):
            shapes |= {f"{_LAYER}.{local}.{name}": shape for name, shape in self.layer_shapes().items()}
        if stage == self.mapping.pp_size - 1:
            shapes |= {FINAL_NORM: (hidden,), HEAD: (self.head_rows, hidden)}
        return shapes

    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        hidden, inner = self.hidden_size, self.intermediate_size // self.mapping.tp_size
        dense_bias = self.attn_bias and not self.architecture.startswith("Qwen")  # Qwen's dense never has one
        linear = {
            "attention.qkv": (self.q_size + 2 * self.kv_size, hidden, self.attn_bias),
            "attention.dense": (hidden, self.q_size, dense_bias),
            "mlp.fc": (inner, hidden, self.mlp_bias),
            "mlp.gate": (inner, hidden, self.mlp_bias),
            "mlp.proj": (hidden, inner, self.mlp_bias),
        }
        shapes: dict[str, tuple[int, ...]] = {"input_layernorm.weight": (hidden,), "post_layernorm.weight": (hidden,)}
        for name, (rows, columns, bias) in linear.items():
            shapes[f"{name}.weight"] = (rows, columns)
            shapes |= {f"{name}.bias": (rows,)} if bias else {}
        if self.qk_layernorm:
            shapes |= {f"attention.{which}_layernorm.weight": (self.head_size,) for which in ("q", "k")}
        return shapes


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

    def read(self, rank: int, name: str) -> torch.Tensor:
        """As float32. Raises: BuildError: the file cannot be read."""
        with _opened(self.path(rank)) as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor.float()

    def read_rows(self, rank: int, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows start…stop as float32."""
        with _opened(self.path(rank)) as file:
            rows: torch.Tensor = file.get_slice(name)[start:stop]
            return rows.float()

    def layer(self, rank: int, local: int) -> dict[str, torch.Tensor]:
        """The tensors of one layer, which is number `local` of its stage, without the layer's prefix; as float32."""
        with _opened(self.path(rank)) as file:
            return {name: file.get_tensor(f"{_LAYER}.{local}.{name}").float() for name in self.config.layer_shapes()}


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
    shards = Shards(directory, config)
    for rank in range(mapping.world_size):
        _check(shards.path(rank), config.shapes(rank // mapping.tp_size), _FORMAT_DTYPES[config.dtype])
    return shards


def _check(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
    if not path.is_file():
        raise BuildError(f"{path}: missing; config.json lists this rank")
    with _opened(path) as file:
        names = set(file.keys())
        for name in sorted(names ^ shapes.keys()):
            raise BuildError(f"{path}: {name} is {'surplus' if name in names else 'missing'}")
        for name, shape in shapes.items():
            tensor = file.get_slice(name)
            found = (tensor.get_dtype(), tuple(tensor.get_shape()))
            if found != (dtype, shape):
                raise BuildError(f"{path}: {name}: {found[0]} {list(found[1])}; must be {dtype} {list(shape)}")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise BuildError(f"{path}: {error}") from error
