"""Runs a TensorRT-LLM checkpoint and its source side by side, part by part, and compares what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from build_scripts.architectures import Decoder, check_weights, decoder_of
from build_scripts.architectures.values import LONGROPE
from build_scripts.verify.experts import wrong_expert
from build_scripts.verify.locate import SHOWN, difference, differs, locate, wrong_rows
from build_scripts.verify.memory import check_memory
from build_scripts.verify.prompts import Prompt, make_prompts, padded
from build_scripts.verify.ranks.shard_config import ShardConfig
from build_scripts.verify.ranks.shards import Shards, open_shards
from build_scripts.verify.ranks.simulation import Simulation
from build_scripts.verify.ranks.tensors import EMBEDDING as EMBEDDING_TENSOR
from build_scripts.verify.ranks.tensors import FINAL_NORM
from build_scripts.verify.ranks.tensors import HEAD as HEAD_TENSOR
from build_scripts.verify.reference import EMBEDDING, HEAD, LAYER, Part, Reference
from build_scripts.verify.result import Fault, LayerResult, PromptResult, Rounding, Verification
from build_scripts.weights.view import CheckpointView
from triton_repo.contract.errors import BuildError

TOLERANCE: Final = 1e-4  # of the largest logit; both sides compute in float32 from the same rounded weights
_BLOCK_ROWS: Final = 4096


def verify_shards(
    directory: Path, view: CheckpointView, tolerance: float = TOLERANCE, done: Callable[[int], None] = lambda _: None
) -> Verification:
    """Run the shards in `directory` and the checkpoint `view` on the same prompts; `done` gets the
    number of bytes of the shards that are compared.

    Raises:
        BuildError: the shards are incomplete, are not made of this checkpoint, or there is not enough memory.
    """
    started = time.monotonic()
    shards, decoder = open_shards(directory), decoder_of(view.config, view.source)
    check_weights(decoder, view.weights, view.source)
    config = shards.config
    _check_same_model(config, decoder, directory, view.source)
    limit = decoder.exact_length
    prompts = make_prompts(config.vocab_size, limit[0] if limit else None, _rope_changes_after(decoder))
    tokens = padded(prompts)
    check_memory(decoder, view, tokens.numel())
    watch = _SideBySide(shards, decoder, tokens, done)
    expected = Reference(view, config.dtype).run(tokens, watch)
    results = tuple(_compare(prompt, watch.logits[n], expected[n]) for n, prompt in enumerate(prompts))
    failed = not all(result.within(tolerance) for result in results)
    return Verification(
        source=view.source,
        architecture=decoder.architecture,
        dtype=config.dtype,
        tensor_parallel=config.mapping.tp_size,
        pipeline_parallel=config.mapping.pp_size,
        tolerance=tolerance,
        prompts=results,
        layers=tuple(watch.layers),
        fault=(watch.suspect or watch.fault) if failed else watch.fault,
        rounding=_rounding(view, config.dtype, prompts, tokens, expected),
        seconds=round(time.monotonic() - started, 3),
    )


def _check_same_model(config: ShardConfig, decoder: Decoder, directory: Path, source: str) -> None:
    pairs: dict[str, tuple[object, object]] = {
        "architecture": (config.architecture, decoder.architecture),
        "vocab_size": (config.vocab_size, decoder.vocab_size),
        "hidden_size": (config.hidden_size, decoder.hidden_size),
        "num_hidden_layers": (config.num_hidden_layers, decoder.num_layers),
        "num_attention_heads": (config.num_attention_heads, decoder.num_heads),
        "num_key_value_heads": (config.num_key_value_heads, decoder.num_kv_heads),
        "head_size": (config.head_size, decoder.head_size),
        "intermediate_size": (config.intermediate_size, decoder.intermediate_size),
        "qk_layernorm": (config.qk_layernorm, decoder.qk_norm),
        "moe.num_experts": (
            config.moe.num_experts if config.moe else 0,
            decoder.experts.count if decoder.experts else 0,
        ),
    }
    if decoder.rope.scaling is not None and decoder.rope.scaling["rope_type"] == LONGROPE:  # prompts see one of the two
        for which in ("short", "long"):
            key = f"longrope_scaling_{which}_factors"
            pairs[key] = (list(getattr(config, key) or ()), decoder.rope.scaling[f"{which}_factor"])
    for key, (found, wanted) in pairs.items():
        if found != wanted:
            raise BuildError(f"{directory / 'config.json'}: {key} = {found}; {source} has {wanted}")


def _rope_changes_after(decoder: Decoder) -> int | None:
    scaling = decoder.rope.scaling
    return decoder.max_position_embeddings if scaling and scaling["rope_type"] == "dynamic" else None


def _compare(prompt: Prompt, found: torch.Tensor, expected: torch.Tensor) -> PromptResult:
    """Logits [positions, vocabulary] of one prompt, its padding last."""
    length = len(prompt.tokens)
    found, expected = found[:length], expected[:length]
    worst = (found - expected).abs().amax(-1)
    position = int(worst.argmax())  # torch takes a NaN for the largest
    top1 = int((found.argmax(-1) == expected.argmax(-1)).sum())
    return PromptResult(
        name=prompt.name,
        tokens=length,
        max_abs_diff=float(worst[position]),
        worst_position=position,
        top1=top1,
        scale=_scale(expected),
    )


def _scale(logits: torch.Tensor) -> float:
    largest = float(logits.abs().max())
    return largest if 1 < largest < float("inf") else 1.0


def _rounding(
    view: CheckpointView, dtype: str, prompts: tuple[Prompt, ...], tokens: torch.Tensor, rounded: torch.Tensor
) -> Rounding | None:
    """None where the weights had the dtype of the shards before, or fit into it."""
    if dtype == "float32" or all(tensor.dtype == dtype for tensor in view.weights.values()):
        return None
    exact = Reference(view, "float32").run(tokens)
    results = [_compare(prompt, rounded[n], exact[n]) for n, prompt in enumerate(prompts)]
    return Rounding(
        max_abs_diff=max(result.max_abs_diff for result in results), top1=sum(result.top1 for result in results)
    )


class _SideBySide:
    """Takes the simulated ranks one part further whenever transformers has done one, and compares.

    Attributes:
        logits: of the shards, gathered from the ranks and without the padding, once the head is done.
        fault: what is wrong whatever the logits say: rows that these prompts do not touch.
        suspect: the first place where more than noise differs.
    """

    def __init__(self, shards: Shards, decoder: Decoder, tokens: torch.Tensor, done: Callable[[int], None]) -> None:
        self.shards, self.names, self.done = shards, decoder.layer(), done
        self.simulation = Simulation(shards, tokens)
        self.layers: list[LayerResult] = []
        self.logits = torch.empty(0)
        self.fault: Fault | None = None
        self.suspect: Fault | None = None

    def __call__(self, part: Part) -> None:
        if part.name == EMBEDDING:
            self.simulation.embed()
            self.fault = self._embedding_fault(part.weights["weight"])
            self.suspect = self.fault
        elif part.name.startswith(LAYER):
            self._layer(int(part.name.removeprefix(LAYER)), part)
        elif part.name == HEAD:
            self._head(part)

    def _embedding_fault(self, expected: torch.Tensor) -> Fault | None:
        """All rows are compared: prompts touch few, and every rank has a copy, or a share with padding."""
        config = self.shards.config
        for rank in range(config.mapping.tp_size):
            first, count = (rank * config.vocabulary_rows, config.vocabulary_rows)
            if not config.use_parallel_embedding:
                first, count = 0, len(expected)
            mine, rows = expected[first : first + count], list[int]()
            for start in range(0, count, _BLOCK_ROWS):
                found = self.shards.read_rows(rank, EMBEDDING_TENSOR, start, min(start + _BLOCK_ROWS, count))
                right = torch.zeros_like(found)
                right[: len(mine[start : start + len(found)])] = mine[start : start + len(found)]
                rows += [int(row) + start for row in (found != right).any(-1).nonzero().flatten()]
            if rows:
                return self._outside("token embedding", 0, rank, EMBEDDING_TENSOR, rows)
        return None

    def _layer(self, index: int, part: Part) -> None:
        steps, stage = self.simulation.layer(index), self.shards.config.stage_of(index)
        worst = max(float(difference(hidden, part.outputs[""]).max()) for hidden in self.simulation.hidden.values())
        self.layers.append(LayerResult(layer=index, stage=stage, difference=worst))
        if self.shards.config.moe is not None and self.fault is None:
            self.fault = wrong_expert(self.shards, index, part)
            self.suspect = self.suspect or self.fault
        if self.suspect is None:
            self.suspect = locate(self.shards, self.names, index, part, steps)
        self.done(self.shards.file_bytes * (index + 1) // self.shards.config.num_hidden_layers)

    def _head(self, part: Part) -> None:
        config, gathered = self.shards.config, list[torch.Tensor]()
        stage, rows = config.mapping.pp_size - 1, config.vocabulary_rows
        for rank, (normed, logits) in enumerate(self.simulation.head()):
            gathered.append(logits)
            expected = part.outputs[""][..., rank * rows : (rank + 1) * rows]
            found, padding = logits.split([expected.shape[-1], rows - expected.shape[-1]], -1)
            if padding.any():
                bad = [row for row in range(found.shape[-1], rows) if logits[..., row].any()]
                self.fault = self.fault or self._outside("padding of lm_head", stage, rank, HEAD_TENSOR, bad)
            if self.suspect is None and differs(normed, part.inputs[""]):
                self.suspect = self._outside("final norm", stage, rank, f"{FINAL_NORM}.weight", [])
            if self.suspect is None and expected.numel() and differs(found, expected):
                bad = wrong_rows([(found, expected)])
                self.suspect = self._outside("lm_head", stage, rank, HEAD_TENSOR, bad)
        self.logits = torch.cat(gathered, -1)[..., : config.vocab_size]

    def _outside(self, place: str, stage: int, rank: int, tensor: str, rows: list[int]) -> Fault:
        """Of the layers."""
        return Fault(
            place=place,
            layer=None,
            stage=stage,
            tp_ranks=(rank,),
            files=self.shards.names(stage, [rank]),
            tensor=tensor,
            rows=tuple(rows[:SHOWN]),
            num_rows=len(rows),
        )
