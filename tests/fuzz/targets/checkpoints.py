"""Files of a checkpoint: weights, their containers, and the configuration beside them; and those of an operator."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from build_scripts.architectures import decoder_of
from build_scripts.sizing.reading import model_shape
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.spec.reading import read_spec
from build_scripts.vocabulary.settings import TokenizerSettings, apply_settings
from build_scripts.weights.file_span import FileSpan
from build_scripts.weights.gguf.checkpoint import open_gguf
from build_scripts.weights.nemo.archive import archive_members
from build_scripts.weights.nemo.checkpoint import open_nemo
from build_scripts.weights.nemo.torch_dist_metadata import read_metadata
from build_scripts.weights.pickled import read_pickled
from build_scripts.weights.safetensors import read_header
from build_scripts.weights.strict_yaml import parse_table
from gateway.http.keys import read_key_file
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.weights.gguf.gguf_checkpoints import byte_level_tokens, make_gguf
from tests.build_scripts.weights.nemo.nemo_checkpoints import make_nemo1, megatron_state
from tests.build_scripts.weights.nemo.torch_dist_checkpoints import make_nemo2
from tests.conftest import ROOT
from tests.fuzz.target import Target, json_target
from tests.triton_repo.detokenize.tokenizers_under_test import byte_level, sentencepiece
from triton_repo.contract.errors import BuildError, LaunchError, SpecError

_DEMO = ROOT / "engines" / "demo" / "checkpoint"
_SHAPE: dict[str, Any] = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "intermediate_size": 16,
    "vocab_size": len(byte_level_tokens()),
}
_TENSORS = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.bfloat16)}


@cache
def _work() -> Path:
    """A directory of this process, on a disk of memory where there is one; gone with the process."""
    memory = Path("/dev/shm")  # noqa: S108
    directory = tempfile.TemporaryDirectory(prefix="conch-fuzz-", dir=memory if memory.is_dir() else None)
    _KEPT.append(directory)
    return Path(directory.name)


_KEPT: list[Any] = []


def _reader(
    name: str, read: Callable[[Path], object], allowed: type[Exception] = BuildError
) -> Callable[[bytes], None]:
    """Fuzzes a reader of the file `name`."""

    def run(data: bytes) -> None:
        path = _work() / name
        path.write_bytes(data)
        try:
            read(path)
        except allowed as error:
            str(error).encode(errors="backslashreplace")  # as it is printed

    return run


def _read_all(tensors: Mapping[str, Any]) -> None:
    """Also the values: a header that is taken describes its file."""
    for tensor in tensors.values():
        if tensor.nbytes < 1 << 20:
            tensor.read()


def fuzz_config(data: bytes) -> None:
    """config.json, for the facts of an engine, for the check of its architecture, and for its size."""
    directory = _work() / "checkpoint"
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_bytes(data)
    try:
        Checkpoint(directory, "x").facts()
    except BuildError:
        return
    config = json.loads(data.decode("utf-8-sig"))
    for check in (lambda: model_shape(config, "x"), lambda: decoder_of(config, "x")):
        try:
            check()
        except BuildError as error:
            str(error).encode(errors="backslashreplace")


def fuzz_generation_config(data: bytes) -> None:
    directory = _work() / "generation"
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_bytes((_DEMO / "config.json").read_bytes())
    (directory / "generation_config.json").write_bytes(data)
    try:
        Checkpoint(directory, "x").facts()
    except BuildError:
        return


def fuzz_tokenizer_config(data: bytes) -> None:
    """tokenizer_config.json beside a sound tokenizer.json."""
    _tokenizer((_DEMO / "tokenizer.json").read_bytes(), data)


def fuzz_tokenizer(data: bytes) -> None:
    _tokenizer(data, b"{}")


def _tokenizer(text: bytes, config: bytes) -> None:
    try:
        values = json.loads(config)
        settings = TokenizerSettings(values if isinstance(values, dict) else {}, {}, 1000)
        apply_settings(text.decode(), settings)
    except (ValueError, RecursionError):
        return
    except BaseException as error:
        # What the library `tokenizers` raises; a panic ends the child process in which all of this runs.
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise


def _saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": _TENSORS, "epoch": 3}, buffer)
    return buffer.getvalue()


def _zipped(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/version", "3\n")
    return buffer.getvalue()


def fuzz_pickle(data: bytes) -> None:
    """The pickle in a sound archive: the archive's checksum would find most changes of it."""
    _PICKLED(_zipped(data))


def _pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(_saved())) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


@cache
def _llama() -> Path:
    return make_checkpoint(_work() / "llama", **_SHAPE)


def _gguf() -> bytes:
    return make_gguf(_work() / "seed.gguf", _llama()).read_bytes()


def _nemo() -> bytes:
    return make_nemo1(_work() / "seed.nemo", _llama()).read_bytes()


def _nemo_head() -> bytes:
    return _nemo()[: 1 << 14]


def _metadata() -> bytes:
    directory = make_nemo2(_work() / "nemo2", _llama(), megatron_state(_llama()))
    return next(directory.rglob(".metadata")).read_bytes()


def _specs() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "engines").glob("*.toml"))]


_DIGEST = b"fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"
_KEYS = b"# who\nnightly  %b\nbob\t%b\n" % (_DIGEST, _DIGEST[::-1])
_WORDS = (b" models=demo,chat", b" priority=batch", b" parallel=2", b" requests_per_minute=5")

_PICKLED = _reader("x.bin", lambda path: _read_all(read_pickled(path)))
_CONFIG = json.loads((_DEMO / "config.json").read_bytes())
_SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32}
_CONFIGS = [
    {**_CONFIG, "rope_scaling": {**_SCALING, "original_max_position_embeddings": 8192}, "quantization_config": None},
    {**_CONFIG, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "layer_types": ["full_attention"] * 2},
    {**_CONFIG, **_EXPERTS, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "sliding_window": 64},
    {**_CONFIG, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
]
_YAML = yaml.safe_dump({"a": {"b": [1, 2.5, None, "x"]}, "c": True}).encode()


@cache
def targets() -> tuple[Target, ...]:
    generation = {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "eos_token_id": [1, 2], "repetition_penalty": 1.1}
    return (
        Target("safetensors", _reader("x.safetensors", lambda path: _read_all(read_header(path))), [save(_TENSORS)]),
        Target("torch_save", _PICKLED, [_saved]),
        Target("pickle", fuzz_pickle, [_pickle], (b"cbuiltins\nbytearray\n", b"\x8a\x08", b"R.", b"](", b"e", b"r")),
        Target("tar", _reader("x.tar", archive_members), [_nemo_head, _nemo]),
        Target("nemo", _reader("x.nemo", lambda path: _read_all(open_nemo(path, "x").weights)), [_nemo]),
        Target("torch_dist", _reader(".metadata", lambda path: read_metadata(FileSpan.whole(path), bool)), [_metadata]),
        Target("gguf", _reader("x.gguf", lambda path: open_gguf(path, "x")), [_gguf]),
        Target(
            "yaml", _reader("x.yaml", lambda path: parse_table(path.read_bytes(), "x")), [_YAML], (b"&a", b"*a", b"!!")
        ),
        Target("spec", _reader("x.toml", read_spec, SpecError), _specs(), (b"[build]\n", b" = ", b'"""')),
        Target("key_file", _reader("keys", read_key_file, LaunchError), [_KEYS], _WORDS),
        json_target("config", fuzz_config, _CONFIGS),
        json_target("generation_config", fuzz_generation_config, [generation]),
        json_target(
            "tokenizer_config", fuzz_tokenizer_config, [json.loads((_DEMO / "tokenizer_config.json").read_bytes())]
        ),
        json_target("tokenizer", fuzz_tokenizer, [json.loads(one.to_str()) for one in (byte_level(), sentencepiece())]),
    )
