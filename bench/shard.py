"""`python -m bench.shard`: how fast and in how little memory a checkpoint becomes TensorRT-LLM shards.

Makes a checkpoint of random bfloat16 weights in the shape of Llama-3.1-8B (16 GB; `--layers 4` for 3.8 GB), copies it
with `cat`, converts it, and says what the conversion took of memory and how its pace compares with the copy's: bytes of
the checkpoint per second, both from a cold page cache and until all is on the disk. Wants three times the checkpoint's
size of free disk, and leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from bench.machine import describe, one_line

_ROOT: Final = Path(__file__).resolve().parents[1]
_HIDDEN, _INNER, _KV, _VOCABULARY = 4096, 14336, 1024, 128256
_CONFIG: Final = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
}
_LAYERS_PER_FILE: Final = 8
_SCRATCH: Final = 64 << 20  # bytes of random weights, repeated


def shard_bench(  # noqa: PLR0913, PLR0917 - the options of a command
    layers: Annotated[int, typer.Option(min=2, help="Of the model's 32; fewer for a smaller checkpoint.")] = 32,
    tp: Annotated[int, typer.Option(min=1)] = 2,
    pp: Annotated[int, typer.Option(min=1)] = 2,
    dtype: Annotated[str, typer.Option(help="Of the shards.")] = "bfloat16",
    directory: Annotated[Path, typer.Option(help="Where to work; a folder on the disk to be measured.")] = Path(),
    runs: Annotated[int, typer.Option(min=1, help="Each is a copy and a conversion; the figures are the medians.")] = 1,
) -> None:
    """Measure the conversion of a checkpoint into TensorRT-LLM shards."""
    size = sum(2 * rows * columns for _, tensors in _files(layers) for _, rows, columns in tensors)
    free = shutil.disk_usage(directory).free
    if free < 3.3 * size:
        typer.echo(f"error: {free / 1e9:.0f} GB are free, {3.3 * size / 1e9:.0f} GB are needed", err=True)
        raise typer.Exit(1)
    print(one_line(describe()))
    with tempfile.TemporaryDirectory(dir=directory, prefix="shard-bench-") as scratch:
        source = Path(scratch, "checkpoint")
        _write_checkpoint(source, layers)
        print(f"checkpoint: {size / 1e9:.2f} GB bfloat16, {layers} layers; tp {tp} × pp {pp} in {dtype}")
        copies, conversions = [], []
        arguments = ["--tp", str(tp), "--pp", str(pp), "--dtype", dtype]
        for _ in range(runs):
            copies.append(
                _seconds(
                    source, Path(scratch, "copy"), ["sh", "-c", 'mkdir "$1" && cat "$0"/*.safetensors > "$1/copy"']
                )
            )
            command = [sys.executable, "-m", "build_scripts.tensorrt_llm.sharding"]
            conversions.append(_seconds(source, Path(scratch, "shards"), command, arguments))
        _report(size, float(np.median(copies)), float(np.median(conversions)))


def _report(size: int, copy_s: float, conversion_s: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child: the conversion
    print(f"cat:      {copy_s:7.1f} s  {size / copy_s / 1e6:7.0f} MB/s")
    print(f"shards:   {conversion_s:7.1f} s  {size / conversion_s / 1e6:7.0f} MB/s  peak RSS {peak:.0f} MiB")
    print(f"ratio:    {copy_s / conversion_s:7.2f}  of cat's pace")


def _seconds(source: Path, target: Path, command: list[str], arguments: list[str] | None = None) -> float:
    """From a cold cache until the disk has all of it; the target is removed."""
    _sync_and_forget(source)
    started = time.monotonic()
    subprocess.run([*command, str(source), str(target), *(arguments or [])], cwd=_ROOT, check=True)
    _sync_and_forget(target)
    taken = time.monotonic() - started
    shutil.rmtree(target)
    return taken


def _sync_and_forget(directory: Path) -> None:
    for path in directory.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _write_checkpoint(directory: Path, layers: int) -> None:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({**_CONFIG, "num_hidden_layers": layers}), encoding="utf-8")
    values = np.random.default_rng(7).standard_normal(_SCRATCH // 4, dtype=np.float32) * np.float32(0.02)
    weights = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()  # bfloat16 is the upper half of float32
    files = dict(_files(layers))
    for name, tensors in files.items():
        _write_file(directory / name, tensors, weights)
    weight_map = {tensor: name for name, tensors in files.items() for tensor, _, _ in tensors}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def _write_file(path: Path, tensors: list[tuple[str, int, int]], weights: bytes) -> None:
    header: dict[str, object] = {}
    end = 0
    for name, rows, columns in tensors:
        shape = [rows, columns] if rows > 1 else [columns]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * rows * columns]}
        end += 2 * rows * columns
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while end:
            end -= file.write(weights[:end])


def _files(layers: int) -> Iterator[tuple[str, list[tuple[str, int, int]]]]:
    """File name -> tensors, as (name, rows, columns)."""
    last = (layers - 1) // _LAYERS_PER_FILE
    for number in range(last + 1):
        tensors = [("model.embed_tokens.weight", _VOCABULARY, _HIDDEN)] if number == 0 else []
        for layer in range(number * _LAYERS_PER_FILE, min(layers, (number + 1) * _LAYERS_PER_FILE)):
            tensors += [(f"model.layers.{layer}.{name}.weight", *shape) for name, shape in _LAYER.items()]
        if number == last:
            tensors += [("model.norm.weight", 1, _HIDDEN), ("lm_head.weight", _VOCABULARY, _HIDDEN)]
        yield f"model-{number + 1:05}-of-{last + 1:05}.safetensors", tensors


_LAYER: Final = {
    "input_layernorm": (1, _HIDDEN),
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
    "self_attn.k_proj": (_KV, _HIDDEN),
    "self_attn.v_proj": (_KV, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_proj": (_INNER, _HIDDEN),
    "mlp.up_proj": (_INNER, _HIDDEN),
    "mlp.down_proj": (_HIDDEN, _INNER),
    "post_attention_layernorm": (1, _HIDDEN),
}

if __name__ == "__main__":
    typer.run(shard_bench)
