"""What serving is compared with: a loop over batches of texts, as a script would have it, in this process."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from build_scripts.work.child import Child
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.embed.encoder import inputs_of
from triton_repo.embed.settings import MODEL_FILE, EncoderConfig
from triton_repo.embed.texts import Tokens

BATCH: Final = 32  # as sentence-transformers' `encode` has it
_ONNX_PACKAGES: Final = ("onnx", "onnxruntime", "onnxscript")

Run = Callable[[dict[str, NDArray[np.int64]]], Any]


class Loop:
    """Texts by hundreds through one model: tokenized, padded and computed in batches."""

    def __init__(self, directory: Path, run: Run) -> None:
        self._config = EncoderConfig.load(directory)
        self._tokenizer = Tokenizer.from_file(str(EngineDirectory(directory).tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._config.max_seq_len)
        self._run = run

    def tokens_per_s(self, texts: Sequence[str], *, by_length: bool) -> float:
        """`by_length`: batches of texts of about the same length, which is what sentence-transformers does."""
        ordered = sorted(texts, key=len) if by_length else texts
        began_s, num_tokens = time.perf_counter(), 0
        for start in range(0, len(ordered), BATCH):
            encodings = self._tokenizer.encode_batch(list(ordered[start : start + BATCH]))
            rows = [Tokens(encoding.ids, encoding.type_ids) for encoding in encodings]
            self._run(inputs_of(rows, self._config.facts))
            num_tokens += sum(len(row.ids) for row in rows)
        return num_tokens / (time.perf_counter() - began_s)


def openvino_loop(directory: Path) -> Loop:
    """With OpenVINO's own settings, but for the precision."""
    import openvino

    file = EngineDirectory(directory).model.path / MODEL_FILE
    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return Loop(directory, model)


def onnx_loop(directory: Path, checkpoint: Path) -> Loop | None:
    """With ONNX Runtime's own settings; None where its packages are not installed."""
    if any(importlib.util.find_spec(name) is None for name in _ONNX_PACKAGES):
        return None
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "model.onnx")
        Child("onnx", Path(scratch, "log")).call(export_onnx, str(checkpoint), str(file))
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return Loop(directory, lambda inputs: session.run(None, inputs))


def export_onnx(checkpoint: str, file: str) -> None:
    """The same network as the engine's, for a child process: it imports torch."""
    import torch

    from build_scripts.encoders.export import load_network
    from build_scripts.encoders.facts import Reading

    network = load_network(Reading(Path(checkpoint), checkpoint, None), "sdpa")
    example = torch.tensor([[101, 2023, 2003, 102]] * 2), torch.ones(2, 4, dtype=torch.long)
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        network,
        example,
        file,
        input_names=["input_ids", "attention_mask"],
        dynamic_shapes=(any_size, any_size),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
