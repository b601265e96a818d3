"""NeMo 1, NeMo 2 and Megatron-Bridge checkpoints as CheckpointViews, with everything under HuggingFace's names.

NeMo 1           X.nemo or a directory: model_config.yaml, tokenizer, model_weights.ckpt | mp_rank_00/… | model_weights/
NeMo 2           a directory: weights/ (torch_dist), context/model.yaml, context/nemo_tokenizer/
Megatron-Bridge  a directory: run_config.yaml, tokenizer/, .metadata; or iter_0000010/ with these
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.file_span import Members, select
from build_scripts.weights.nemo.archive import archive_members, directory_members
from build_scripts.weights.nemo.megatron import EMBEDDING, OUTPUT, layer_of, to_huggingface
from build_scripts.weights.nemo.megatron_config import MegatronConfig, Traits
from build_scripts.weights.nemo.ranks import rank_files, read_ranks
from build_scripts.weights.nemo.tokenizer import NemoTokenizer, tokenizer_of_archive, tokenizer_of_directory
from build_scripts.weights.nemo.torch_dist import METADATA, read_torch_dist
from build_scripts.weights.strict_json import parse_object
from build_scripts.weights.view import CheckpointView, LazyTensor
from triton_repo.contract.errors import BuildError

_NEMO_1: Final = "model_config.yaml"
_NEMO_2: Final = "context/model.yaml"
_BRIDGE: Final = "run_config.yaml"
_LATEST: Final = "latest_checkpointed_iteration.txt"
_ITERATION: Final = re.compile(r"iter_\d{7}")
_SAMPLING: Final = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


def is_nemo(path: Path) -> bool:
    """Whether there is a NeMo or Megatron-Bridge checkpoint at `path`, judged by names."""
    if path.is_file():
        return True  # no other kind is one file
    if (path / "config.json").is_file():
        return False
    return any((path / name).is_file() for name in (_NEMO_1, _NEMO_2, _BRIDGE)) or bool(_iterations(path))


def open_nemo(path: Path, source: str) -> CheckpointView:
    """The checkpoint at `path`. Reads configuration, tokenizer and headers, and no weights.

    Raises:
        BuildError: it is broken, or of a model that is no Llama-like one; names file and member.
    """
    content = _open_content(path, source)
    content.config.check()
    tensors = content.read(source)
    if EMBEDDING not in tensors:
        raise BuildError(f"{source}: no {EMBEDDING} among its {len(tensors)} weights")
    traits = _traits(tensors)
    tokenizer = content.tokenizer
    vocab_size = content.config.vocab_size(tokenizer.size, tensors[EMBEDDING].shape[0])
    config = content.config.to_huggingface(traits, vocab_size)
    weights = to_huggingface(tensors, content.config.heads, vocab_size, config["tie_word_embeddings"], source)
    generation = _generation(content.config.values, tokenizer)
    ids: dict[str, Any] = {key: generation[key] for key in _IDS if key in generation}
    text = (json.dumps(generation, indent=2) + "\n").encode()
    files = {**({"generation_config.json": text} if generation else {}), **tokenizer.files}
    return CheckpointView(source, {**config, **ids}, weights, files)


@dataclass(frozen=True, slots=True)
class _Content:
    """What one kind of checkpoint has, wherever it has it; `weights` are the members that hold them."""

    config: MegatronConfig
    tokenizer: NemoTokenizer
    weights: Members

    def read(self, source: str) -> dict[str, LazyTensor]:
        if METADATA in self.weights:
            return read_torch_dist(self.weights, source)
        if rank_files(self.weights):
            return read_ranks(self.weights, self.config.values, source)
        if ".zmetadata" in self.weights or any(name.endswith("/.zarray") for name in self.weights):
            advice = "save it again with NeMo (dist_ckpt_format: torch_dist)"
            raise BuildError(f"{source}: a zarr checkpoint, which is not supported; {advice}")
        raise BuildError(f"{source}: no weights: neither model_weights.ckpt, nor those of ranks, nor {METADATA}")


def _open_content(path: Path, source: str) -> _Content:
    if path.is_dir() and not (path / _BRIDGE).is_file() and _iterations(path):
        path = _latest(path)
    members = directory_members(path) if path.is_dir() else archive_members(path)
    if _NEMO_1 in members:
        config = _config(members, _NEMO_1)
        tokenizer = tokenizer_of_archive(members, config.values.get("tokenizer"), config.where)
        distributed = select(members, "model_weights/")
        return _Content(config, tokenizer, _checked_backend(distributed) if distributed else members)
    if _NEMO_2 in members:
        tokenizer = tokenizer_of_directory(members, "context/nemo_tokenizer/", "context/tokenizer/", "context/")
        return _Content(_config(members, _NEMO_2, "config"), tokenizer, _checked_backend(select(members, "weights/")))
    if _BRIDGE in members:
        config = _config(members, _BRIDGE, "model")
        return _Content(config, tokenizer_of_directory(members, "tokenizer/"), _checked_backend(members))
    raise BuildError(f"{source}: no NeMo checkpoint: neither {_NEMO_1}, nor {_NEMO_2}, nor {_BRIDGE} in {path}")


def _config(members: Members, name: str, section: str | None = None) -> MegatronConfig:
    from build_scripts.weights import strict_yaml

    where = str(members[name])
    values = strict_yaml.parse_table(members[name].read(strict_yaml.MAX_BYTES), where)
    if section is None:
        return MegatronConfig(where, values)
    inner = values.get(section)
    if not isinstance(inner, dict):
        raise BuildError(f"{where}: {section}: must be a table")
    return MegatronConfig(f"{where}: {section}", inner)


def _checked_backend(members: Members) -> Members:
    """`metadata.json` names the library that wrote the weights."""
    span = members.get("metadata.json")
    if span is None:
        return members
    backend = parse_object(span.read(1 << 20), str(span)).get("sharded_backend", "torch_dist")
    if backend == "zarr":
        advice = "save it again with NeMo (dist_ckpt_format: torch_dist)"
        raise BuildError(f"{span}: a zarr checkpoint, which is not supported; {advice}")
    if backend != "torch_dist":
        raise BuildError(f"{span}: sharded_backend = {backend!r:.80}; allowed: torch_dist")
    return members


def _iterations(path: Path) -> list[Path]:
    return sorted(entry for entry in path.glob("iter_*") if _ITERATION.fullmatch(entry.name) and entry.is_dir())


def _latest(path: Path) -> Path:
    found = _iterations(path)
    if len(found) > 1 and (path / _LATEST).is_file():
        number = (path / _LATEST).read_bytes()[:20].strip()
        found = [entry for entry in found if number.isdigit() and int(entry.name.removeprefix("iter_")) == int(number)]
    if len(found) != 1:
        raise BuildError(f"{path}: several iterations and no {_LATEST} that names one of them; name one yourself")
    return found[0]


def _traits(tensors: Mapping[str, LazyTensor]) -> Traits:
    parts = {place[1] for name in tensors if (place := layer_of(name))}
    return Traits(
        dtype=tensors[EMBEDDING].dtype,
        qkv_bias="self_attention.linear_qkv.bias" in parts,
        dense_bias="self_attention.linear_proj.bias" in parts,
        mlp_bias="mlp.linear_fc1.bias" in parts or "mlp.linear_fc2.bias" in parts,
        qk_norm="self_attention.q_layernorm.weight" in parts,
        has_output=OUTPUT in tensors,
    )


def _generation(values: Mapping[str, Any], tokenizer: NemoTokenizer) -> dict[str, Any]:
    """`generation_config.json`: Megatron-Bridge keeps HuggingFace's own; elsewhere the tokenizer knows the ends."""
    section = values.get("generation_config")
    kept = section.get("config_dict") if isinstance(section, dict) else None
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if isinstance(kept, dict):
        ids |= {key: kept.get(key) for key in (*_IDS, *_SAMPLING) if kept.get(key) is not None}
    return {key: value for key, value in ids.items() if value is not None}
