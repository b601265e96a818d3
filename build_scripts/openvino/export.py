"""HuggingFace checkpoint -> OpenVINO IR, in full, half or compressed weights.

Weights are stored no wider than the checkpoint stores them, which loses nothing: a half-precision checkpoint stays
half on disk and is computed in whatever precision the engine asks for. OpenVINO's own `compress_to_fp16` is not used:
it also halves the tables of the rotary embedding, and greedy decoding then departs from the checkpoint's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from build_scripts.openvino.unused import changes_a_part
from build_scripts.weights.strict_json import has_mark
from triton_repo.contract.engine_directory import EXPORTED_BY

TOKENIZER_FILE: Final = "openvino_tokenizer.xml"
MODEL_FILES: Final = ("openvino_model.xml", "openvino_model.bin", "config.json", "generation_config.json")
_INT4_GROUP_SIZE: Final = 128  # as optimum-cli; layers that it does not divide take the largest group that does


def export_model(checkpoint: str, output: str, dtype: str, prompts: list[list[int]], expected: str | None) -> None:
    """Write `MODEL_FILES` into the directory `output`, in `dtype`. Meant for a child process: it imports torch.

    What transformers answers to `prompts` goes into the file `expected`, if there is one to write.

    Raises:
        ValueError: weights are missing or not finite.
    """
    with _without_marks(Path(checkpoint), Path(output)) as readable:
        model = _load(readable, dtype)
    if expected is not None:
        from build_scripts.openvino.verify.expected import write_expected

        write_expected(model, prompts, Path(expected))
    from build_scripts.openvino.trace import trace

    staging = Path(output, "staging")
    way = trace(model, staging)
    Path(output, EXPORTED_BY).write_text(json.dumps({"way": way}) + "\n", encoding="utf-8")
    for name in MODEL_FILES:  # and nothing else that the exporter wrote
        if (staging / name).exists():
            (staging / name).replace(Path(output, name))
    shutil.rmtree(staging)
    _keep_finite(Path(output, "generation_config.json"))


def export_tokenizer(tokenizer: str, outputs: list[str]) -> None:
    """Write the tokenizer into each of the model directories `outputs`, as OpenVINO's own. For a child process.

    Raises:
        ValueError: OpenVINO cannot express it.
    """
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False, local_files_only=True)
    model = convert_tokenizer(loaded, with_detokenizer=False)
    for output in outputs:
        openvino.save_model(model, Path(output, TOKENIZER_FILE))


@contextmanager
def _without_marks(checkpoint: Path, scratch: Path) -> Iterator[Path]:
    """`checkpoint`, or links to it in the directory `scratch`, where JSON begins with a byte order mark.

    Editors write it, and transformers does not take it.
    """
    marked = [path.name for path in checkpoint.glob("*.json") if has_mark(path)]
    if not marked:
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        copy = Path(directory, checkpoint.name)
        copy.mkdir()
        for path in checkpoint.iterdir():
            if path.name in marked:
                (copy / path.name).write_text(path.read_text(encoding="utf-8-sig"), encoding="utf-8")
            else:
                (copy / path.name).symlink_to(path.absolute())
        yield copy


def _keep_finite(file: Path) -> None:
    """Drop values that JSON has not (NaN, Infinity): Python reads and writes them, OpenVINO rejects the file."""
    if file.exists():
        values = json.loads(file.read_bytes(), parse_constant=lambda _: None)
        kept = {key: value for key, value in values.items() if value is not None}
        file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _load(checkpoint: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        checkpoint,
        dtype=getattr(torch, dtype),
        use_safetensors=True,  # never a pickle
        trust_remote_code=False,  # never a module of the checkpoint
        local_files_only=True,
        output_loading_info=True,
    )
    model, report = loaded
    absent = sorted(report["missing_keys"])
    if absent:  # transformers would go on with random numbers
        raise ValueError(f"{checkpoint.name}: {len(absent)} weights are missing, the first is {absent[0]}")
    modules = {name for name, _ in model.named_modules()}
    unused = sorted(name for name in report["unexpected_keys"] if changes_a_part(name, modules))
    if unused:  # and without these
        raise ValueError(
            f"{checkpoint.name}: {len(unused)} weights have no place in a {type(model).__name__} of this config.json, "
            f"which would answer without them; the first is {unused[0]}"
        )
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{checkpoint.name}: {name} has values that are not finite in {dtype}")
    return model


def compress_weights(output: str, quantization: str) -> None:
    """Compress the weights of the model in `output` to int8 or int4, in place. Meant for a child process."""
    import nncf
    import openvino

    file = Path(output, MODEL_FILES[0])
    model = openvino.Core().read_model(file)
    if quantization == "int8":
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    else:
        adjust = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)
        model = nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode.INT4_ASYM,
            group_size=_INT4_GROUP_SIZE,
            ratio=1.0,
            advanced_parameters=adjust,
        )
    compressed = file.with_name("compressed.xml")
    openvino.save_model(model, compressed, compress_to_fp16=False)
    # The model that was read still maps the old weights: replacing the names leaves its bytes alone.
    for suffix in (".xml", ".bin"):
        compressed.with_suffix(suffix).replace(file.with_suffix(suffix))
