"""HuggingFace weights -> the TensorRT-LLM tensors of one rank. Pure: names, shapes and places, no data.

Everything that TensorRT-LLM does to these families' weights is: take rows, or take columns, put what was taken one
below the other, and add 1 to what is stored as w for 1 + w.

    vocab_embedding.weight   embed_tokens                     whole, on the first pipeline rank; Gemma's: a share of the
                                                              rows, filled up with zeros
    attention.qkv            q_proj; k_proj; v_proj           a share of the heads of each, one below the other
    attention.dense          o_proj                           a share of the columns; its bias is whole
    mlp.fc, mlp.gate         gate_proj, up_proj               a share of the rows
    mlp.fc                   up_proj; gate_proj               Phi-3: a share of the rows of each, one below the other
    mlp.fc                   up_proj                          Nemotron: a share of the rows
    mlp.proj                 down_proj                        a share of the columns; its bias is whole
    mlp.router.weight        gate                             whole, in float32
    mlp.fc, mlp.proj         the same of every expert         [experts of the rank, rows, columns]: as Phi-3's
    mlp.shared_expert…       the same of the shared expert    as Phi-3's, split over all ranks
    …layernorm, ln_f         …norm                            whole
    lm_head.weight           lm_head, or embed_tokens         a share of the rows, filled up with zeros, on the last

(NVIDIA/TensorRT-LLM, tensorrt_llm/: models/llama/convert.py@0afa06a, models/qwen/convert.py@65b31db,
models/gemma/convert.py@65b31db, models/phi3/{model,convert}.py@1479eaf, models/gpt/convert.py, layers/moe.py@c388fec,
whose `fc` of gated experts is the linear projection above the one that is activated; models/convert_utils.py.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from build_scripts.architectures import Decoder
from build_scripts.architectures.decoder import AFTER_MLP, ATTENTION_NORM, BEFORE_MLP, MLP_NORM
from build_scripts.architectures.values import FeedForward, Layer, Matrix, Mixture
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.trtllm_config import splits_embedding

_EMBEDDING = "model.embed_tokens.weight"
_NORMS = {
    ATTENTION_NORM: "input_layernorm",
    MLP_NORM: "post_layernorm",
    BEFORE_MLP: "pre_feedforward_layernorm",
    AFTER_MLP: "post_feedforward_layernorm",
}
ROUTER_DTYPE = "float32"  # whatever the others are: it decides which experts are used


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows and columns of a source that become rows of a target, from row `at` on. No columns: whole rows."""

    source: str
    rows: range
    at: int = 0
    columns: range | None = None


@dataclass(frozen=True, slots=True)
class ShardTensor:
    """One tensor of a rank, under TensorRT-LLM's name. Rows that no piece covers are zeros.

    Attributes:
        shape: a third dimension, of experts, stands before rows and columns; rows are counted through all of them.
        dtype: of its own; None is that of the file.
        offset: added to every value of the sources.
    """

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    dtype: str | None = None
    offset: float = 0.0


def rank_tensors(decoder: Decoder, parallel: Parallelism, rank: int) -> tuple[ShardTensor, ...]:
    """All tensors of one rank, in the order of the forward pass; `parallel` is one that `limits.check` lets pass."""
    share = _Share(decoder, parallel, rank)
    layer = decoder.layer()
    tensors: list[ShardTensor] = []
    if parallel.is_first_pp_rank(rank):
        tensors.append(share.embedding())
    for local, number in enumerate(parallel.layers(parallel.pp_rank(rank), decoder.num_layers)):
        tensors += share.layer(layer, f"transformer.layers.{local}", f"model.layers.{number}")
    if parallel.is_last_pp_rank(rank):
        tensors += share.norm("transformer.ln_f", "model.norm")
        tensors.append(share.head())
    return tuple(tensors)


@dataclass(frozen=True, slots=True)
class _Share:
    """What rank `rank` of `parallel` takes."""

    decoder: Decoder
    parallel: Parallelism
    rank: int

    def embedding(self) -> ShardTensor:
        rows, columns = self.decoder.vocab_size, self.decoder.hidden_size
        if splits_embedding(self.decoder):
            return self._share_of_vocabulary("transformer.vocab_embedding.weight", _EMBEDDING)
        return ShardTensor("transformer.vocab_embedding.weight", (rows, columns), (Piece(_EMBEDDING, range(rows)),))

    def head(self) -> ShardTensor:
        return self._share_of_vocabulary(
            "lm_head.weight", _EMBEDDING if self.decoder.tied_embeddings else "lm_head.weight"
        )

    def norm(self, target: str, source: str) -> Iterator[ShardTensor]:
        norms, size = self.decoder.norms, self.decoder.hidden_size
        yield _vector(f"{target}.weight", f"{source}.weight", size, norms.offset)
        if norms.kind == "layer":
            yield _vector(f"{target}.bias", f"{source}.bias", size)

    def layer(self, layer: Layer, target: str, source: str) -> Iterator[ShardTensor]:
        decoder = self.decoder
        first, *others = layer.norms
        yield from self.norm(f"{target}.{_NORMS[first]}", f"{source}.{first}")
        yield from self._qkv(layer, f"{target}.attention.qkv", source)
        for name, which in zip(layer.head_norms, ("q", "k"), strict=False):
            norm = (f"{target}.attention.{which}_layernorm.weight", f"{source}.{name}.weight")
            yield _vector(*norm, decoder.head_size, decoder.norms.offset)
        yield from self._columns(f"{target}.attention.dense", source, layer.o)
        for name in others:
            yield from self.norm(f"{target}.{_NORMS[name]}", f"{source}.{name}")
        if isinstance(layer.block, Mixture):
            yield from self._mixture(layer.block, f"{target}.mlp", source)
        else:
            yield from self._feed_forward(layer.block, f"{target}.mlp", source)

    def _qkv(self, layer: Layer, target: str, source: str) -> Iterator[ShardTensor]:
        q, kv = self._part(layer.q.rows), self._kv_rows()
        yield from _stacked(target, source, ((layer.q, q), (layer.k, kv), (layer.v, kv)))

    def _kv_rows(self) -> range:
        """With fewer kv heads than ranks each head stands on several consecutive ranks."""
        decoder, size = self.decoder, self.parallel.tp_size
        if decoder.num_kv_heads >= size:
            return self._part(decoder.kv_size)
        head = self.parallel.tp_rank(self.rank) // (size // decoder.num_kv_heads)
        return range(head * decoder.head_size, (head + 1) * decoder.head_size)

    def _feed_forward(
        self, block: FeedForward, target: str, source: str, *, fused: bool = False
    ) -> Iterator[ShardTensor]:
        rows = self._part(block.up.rows)
        if block.gate is None:
            yield from _stacked(f"{target}.fc", source, ((block.up, rows),))
        elif fused or self.decoder.fused:
            yield from _stacked(f"{target}.fc", source, ((block.up, rows), (block.gate, rows)))
        else:
            yield from _stacked(f"{target}.fc", source, ((block.gate, rows),))
            yield from _stacked(f"{target}.gate", source, ((block.up, rows),))
        yield from self._columns(f"{target}.proj", source, block.down)

    def _mixture(self, mixture: Mixture, target: str, source: str) -> Iterator[ShardTensor]:
        router, hidden = mixture.router, self.decoder.hidden_size
        whole = Piece(f"{source}.{router.name}.weight", range(router.rows))
        yield ShardTensor(f"{target}.router.weight", (router.rows, hidden), (whole,), ROUTER_DTYPE)
        mine = [mixture.experts[number] for number in self.parallel.experts(self.rank, len(mixture.experts))]
        size, moe_rank = self.parallel.moe_tp_size, self.parallel.moe_tp_rank(self.rank)
        rows = _part(mine[0].up.rows, size, moe_rank)
        fc = [matrix for expert in mine if expert.gate is not None for matrix in (expert.up, expert.gate)]
        pieces = [Piece(f"{source}.{matrix.name}.weight", rows, at * len(rows)) for at, matrix in enumerate(fc)]
        yield ShardTensor(f"{target}.fc.weight", (len(mine), 2 * len(rows), hidden), tuple(pieces))
        columns = None if size == 1 else rows
        pieces = [
            Piece(f"{source}.{expert.down.name}.weight", range(hidden), at * hidden, columns)
            for at, expert in enumerate(mine)
        ]
        yield ShardTensor(f"{target}.proj.weight", (len(mine), hidden, len(rows)), tuple(pieces))
        if mixture.shared is not None and mixture.shared_gate is not None:
            yield from self._feed_forward(mixture.shared, f"{target}.shared_expert", source, fused=True)
            gate = Piece(f"{source}.{mixture.shared_gate.name}.weight", range(1))
            yield ShardTensor(f"{target}.shared_expert_gate.weight", (1, hidden), (gate,))

    def _columns(self, target: str, source: str, matrix: Matrix) -> Iterator[ShardTensor]:
        part = self._part(matrix.columns)
        columns = None if self.parallel.tp_size == 1 else part
        piece = Piece(f"{source}.{matrix.name}.weight", range(matrix.rows), columns=columns)
        yield ShardTensor(f"{target}.weight", (matrix.rows, len(part)), (piece,))
        if matrix.bias:
            yield _vector(f"{target}.bias", f"{source}.{matrix.name}.bias", matrix.rows)

    def _share_of_vocabulary(self, name: str, source: str) -> ShardTensor:
        """Rows beyond the vocabulary, which make it divisible, are zeros."""
        size, vocabulary = self.parallel.tp_size, self.decoder.vocab_size
        rows, rank = -(-vocabulary // size), self.parallel.tp_rank(self.rank)
        taken = range(min(rows * rank, vocabulary), min(rows * (rank + 1), vocabulary))
        return ShardTensor(name, (rows, self.decoder.hidden_size), (Piece(source, taken),) if taken else ())

    def _part(self, size: int) -> range:
        return _part(size, self.parallel.tp_size, self.parallel.tp_rank(self.rank))


def _part(size: int, ranks: int, rank: int) -> range:
    share = size // ranks
    return range(share * rank, share * (rank + 1))


def _vector(name: str, source: str, length: int, offset: float = 0.0) -> ShardTensor:
    return ShardTensor(name, (length,), (Piece(source, range(length)),), offset=offset)


def _stacked(target: str, source: str, parts: tuple[tuple[Matrix, range], ...]) -> Iterator[ShardTensor]:
    """Rows of each matrix, one below the other; and of their biases, where they have them."""
    for kind in ("weight", "bias") if parts[0][0].bias else ("weight",):
        pieces: list[Piece] = []
        at = 0
        for matrix, rows in parts:
            taken = range(matrix.first + rows.start, matrix.first + rows.stop)
            pieces.append(Piece(f"{source}.{matrix.name}.{kind}", taken, at))
            at += len(rows)
        shape = (at, parts[0][0].columns) if kind == "weight" else (at,)
        yield ShardTensor(f"{target}.{kind}", shape, tuple(pieces))
