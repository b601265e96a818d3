"""HuggingFace weights -> the TensorRT-LLM tensors of one rank. Pure: names, shapes and places, no data.

Everything that TensorRT-LLM does to these families' weights is: take rows, or take columns, and put what was taken one
below the other. (TensorRT-LLM 1.2: models/llama/convert.py, models/qwen/convert.py, models/convert_utils.py.)

    vocab_embedding.weight   embed_tokens                     whole, on the first pipeline rank
    attention.qkv            q_proj; k_proj; v_proj           a share of the heads of each, one below the other
    attention.dense          o_proj                           a share of the columns; its bias is whole
    mlp.fc, mlp.gate         gate_proj, up_proj               a share of the rows
    mlp.proj                 down_proj                        a share of the columns; its bias is whole
    …layernorm, ln_f         …norm                            whole
    lm_head.weight           lm_head, or embed_tokens         a share of the rows, filled up with zeros, on the last
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from build_scripts.architectures import Decoder
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism

_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows and columns of a source that become rows of a target, from row `at` on. No columns: whole rows."""

    source: str
    rows: range
    at: int = 0
    columns: range | None = None


@dataclass(frozen=True, slots=True)
class ShardTensor:
    """One tensor of a rank, under TensorRT-LLM's name. Rows that no piece covers are zeros."""

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]


def rank_tensors(decoder: Decoder, parallel: Parallelism, rank: int) -> tuple[ShardTensor, ...]:
    """All tensors of one rank, in the order of the forward pass; `parallel` is one that `limits.check` lets pass."""
    share = _Share(decoder, parallel.tp_size, parallel.tp_rank(rank))
    pp_rank = parallel.pp_rank(rank)
    tensors: list[ShardTensor] = []
    if parallel.is_first_pp_rank(rank):
        tensors.append(share.whole("transformer.vocab_embedding.weight", _EMBEDDING, decoder.vocab_size))
    for local, layer in enumerate(parallel.layers(pp_rank, decoder.num_layers)):
        tensors += share.layer(f"transformer.layers.{local}", f"model.layers.{layer}")
    if parallel.is_last_pp_rank(rank):
        tensors.append(share.vector("transformer.ln_f.weight", "model.norm.weight", decoder.hidden_size))
        tensors.append(share.head())
    return tuple(tensors)


@dataclass(frozen=True, slots=True)
class _Share:
    """What tensor-parallel rank `rank` of `size` takes."""

    decoder: Decoder
    size: int
    rank: int

    def whole(self, name: str, source: str, rows: int) -> ShardTensor:
        return ShardTensor(name, (rows, self.decoder.hidden_size), (Piece(source, range(rows)),))

    def vector(self, name: str, source: str, length: int) -> ShardTensor:
        return ShardTensor(name, (length,), (Piece(source, range(length)),))

    def layer(self, target: str, source: str) -> Iterator[ShardTensor]:
        decoder = self.decoder
        yield self.vector(f"{target}.input_layernorm.weight", f"{source}.input_layernorm.weight", decoder.hidden_size)
        yield from self._qkv(f"{target}.attention.qkv", f"{source}.self_attn")
        if decoder.qk_norm:
            for which in ("q", "k"):
                norm = f"{source}.self_attn.{which}_norm.weight"
                yield self.vector(f"{target}.attention.{which}_layernorm.weight", norm, decoder.head_size)
        dense = (f"{target}.attention.dense", f"{source}.self_attn.o_proj")
        yield from self._columns(*dense, decoder.q_size, decoder.dense_bias)
        norm = f"{source}.post_attention_layernorm.weight"
        yield self.vector(f"{target}.post_layernorm.weight", norm, decoder.hidden_size)
        yield from self._rows(f"{target}.mlp.fc", f"{source}.mlp.gate_proj")
        yield from self._rows(f"{target}.mlp.gate", f"{source}.mlp.up_proj")
        proj = (f"{target}.mlp.proj", f"{source}.mlp.down_proj")
        yield from self._columns(*proj, decoder.intermediate_size, decoder.mlp_bias)

    def head(self) -> ShardTensor:
        """Rows beyond the vocabulary, which make it divisible, are zeros."""
        rows = -(-self.decoder.vocab_size // self.size)
        taken = range(
            min(rows * self.rank, self.decoder.vocab_size), min(rows * (self.rank + 1), self.decoder.vocab_size)
        )
        source = _EMBEDDING if self.decoder.tied_embeddings else "lm_head.weight"
        pieces = (Piece(source, taken),) if taken else ()
        return ShardTensor("lm_head.weight", (rows, self.decoder.hidden_size), pieces)

    def _qkv(self, target: str, source: str) -> Iterator[ShardTensor]:
        decoder = self.decoder
        q = self._part(decoder.q_size)
        kv = self._kv_rows()
        size = len(q) + 2 * len(kv)
        places = (("q_proj", q, 0), ("k_proj", kv, len(q)), ("v_proj", kv, len(q) + len(kv)))

        def stacked(kind: str, shape: tuple[int, ...]) -> ShardTensor:
            pieces = tuple(Piece(f"{source}.{name}.{kind}", rows, at) for name, rows, at in places)
            return ShardTensor(f"{target}.{kind}", shape, pieces)

        yield stacked("weight", (size, decoder.hidden_size))
        if decoder.qkv_bias:
            yield stacked("bias", (size,))

    def _kv_rows(self) -> range:
        """With fewer kv heads than ranks each head stands on several consecutive ranks."""
        decoder = self.decoder
        if decoder.num_kv_heads >= self.size:
            return self._part(decoder.kv_size)
        head = self.rank // (self.size // decoder.num_kv_heads)
        return range(head * decoder.head_size, (head + 1) * decoder.head_size)

    def _rows(self, target: str, source: str) -> Iterator[ShardTensor]:
        rows = self._part(self.decoder.intermediate_size)
        shape = (len(rows), self.decoder.hidden_size)
        yield ShardTensor(f"{target}.weight", shape, (Piece(f"{source}.weight", rows),))
        if self.decoder.mlp_bias:
            yield ShardTensor(f"{target}.bias", shape[:1], (Piece(f"{source}.bias", rows),))

    def _columns(self, target: str, source: str, columns: int, bias: bool) -> Iterator[ShardTensor]:
        hidden, part = self.decoder.hidden_size, self._part(columns)
        piece = Piece(f"{source}.weight", range(hidden), columns=None if self.size == 1 else part)
        yield ShardTensor(f"{target}.weight", (hidden, len(part)), (piece,))
        if bias:
            yield self.vector(f"{target}.bias", f"{source}.bias", hidden)

    def _part(self, size: int) -> range:
        share = size // self.size
        return range(share * self.rank, share * (self.rank + 1))
