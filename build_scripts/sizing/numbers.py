"""Numbers of a `config.json` under every name that families give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.architectures.config_values import MOST_LAYERS
from triton_repo.contract.errors import BuildError

# In the order of preference; the later ones are those of GPT-2, MPT, BLOOM and the first Llamas.
CONTEXT_KEYS: Final = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx"),
    "model_max_length",
)
_LARGEST: Final = 1 << 40
_BLOCKS: Final = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}  # letters of `hybrid_override_pattern`


@dataclass(frozen=True, slots=True)
class Numbers:
    """The values of a `config.json` of the checkpoint `source`."""

    source: str
    values: Mapping[str, Any]

    def find(self, *names: str) -> int | None:
        """The first of `names` that has a whole number ≥ 0."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST:
                return value
        return None

    def count(self, *names: str) -> int:
        """Raises: BuildError: none of `names` has a whole number ≥ 1."""
        value = self.find(*names)
        if not value:
            raise BuildError(f"{self.source}: config.json: needs one of {', '.join(names)}, a whole number ≥ 1")
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        value = next((self.values[name] for name in names if isinstance(self.values.get(name), bool)), default)
        return bool(value)

    def words(self, name: str) -> list[str]:
        value = self.values.get(name)
        return [str(word) for word in value] if isinstance(value, list | tuple) else []

    @property
    def model_type(self) -> str:
        return str(self.values.get("model_type"))

    @property
    def blocks(self) -> list[str]:
        """What each layer is, in a family whose layers are one block each; else empty."""
        pattern = self.values.get("hybrid_override_pattern")
        if isinstance(pattern, str):
            return [_BLOCKS.get(letter, letter) for letter in pattern]
        return self.words("layers_block_type")

    @property
    def hidden_size(self) -> int:
        return self.count("hidden_size", "n_embd", "d_model")

    @property
    def num_layers(self) -> int:
        layers = len(self.blocks) or self.count("num_hidden_layers", "n_layer", "n_layers", "num_layers")
        if layers > MOST_LAYERS:
            raise BuildError(f"{self.source}: config.json: num_hidden_layers = {layers}; must be ≤ {MOST_LAYERS}")
        return layers

    @property
    def num_heads(self) -> int:
        return self.count("num_attention_heads", "n_head", "n_heads")

    @property
    def num_kv_heads(self) -> int:
        if self.flag("multi_query") and not self.flag("new_decoder_architecture"):
            return 1
        return self.find("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num") or self.num_heads

    @property
    def head_size(self) -> int:
        return self.find("head_dim", "kv_channels", "attention_head_dim") or self.hidden_size // self.num_heads

    @property
    def intermediate_size(self) -> int:
        given = self.find("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "intermediate_size_mlp")
        if given and self.model_type == "qwen":  # the first one counts both projections of its gated block
            return given // 2
        return given or 4 * self.hidden_size


def context_length(config: Mapping[str, Any]) -> int | None:
    """Tokens that the model was made for; None where the configuration does not say."""
    return Numbers("", config).find(*CONTEXT_KEYS) or None
