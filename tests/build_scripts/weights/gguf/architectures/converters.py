"""`python -m tests.build_scripts.weights.gguf.architectures.converters LLAMA_CPP [CASE …]`: llama.cpp's own files.

LLAMA_CPP is its source, which the sdist of llama-cpp-python has in `vendor/`. Every case's random model is saved,
converted by `convert_hf_to_gguf.py` and read here. Prints the largest difference of a logit, or why there is none.
Exit code 1 if one is more than 1e-4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.tokenizer.files import tokenizer_files
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from tests.build_scripts.weights.gguf.architectures.cases import CASES
from tests.build_scripts.weights.gguf.architectures.models import difference, model_of
from tests.build_scripts.weights.gguf.tokenizer.values import values
from triton_repo.contract.errors import BuildError

# The converter knows tokenizers by a hash, or their files; here all have the same.
_CONVERT = """
import importlib, json, pkgutil, runpy, sys
sys.path[1:1] = [sys.argv[1], f"{sys.argv[1]}/gguf-py"]
import conversion
for module in pkgutil.iter_modules(conversion.__path__):
    importlib.import_module(f"conversion.{module.name}")
from conversion.base import ModelBase, TextModel
ModelBase.load_hparams = staticmethod(lambda path, *_, **__: json.loads((path / "config.json").read_text()))
def below(kind):
    return [kind, *(each for one in kind.__subclasses__() for each in below(one))]
for kind in below(TextModel):
    kind.set_vocab = TextModel._set_vocab_gpt2
    kind.get_vocab_base_pre = lambda *_: "smollm"
sys.argv = ["convert_hf_to_gguf.py", sys.argv[2], "--outfile", sys.argv[3], "--outtype", "f32"]
runpy.run_path(f"{sys.path[1]}/convert_hf_to_gguf.py", run_name="__main__")
"""
# What the converter reads of `config.json`, and transformers no longer writes.
_OLDER: dict[str, dict[str, Any]] = {
    "Phimoe": {"architectures": ["PhiMoEForCausalLM"], "original_max_position_embeddings": 256},
    "Mpt": {"architectures": ["MPTForCausalLM"]},
    "MiniMaxM2": {"rotary_dim": 8},
    "Cohere2": {"rotary_pct": 1.0},
    "Apertus": {"head_dim": 8},
}


def converted(source: Path, checkpoint: Path, case: str) -> Path:
    """Raises: BuildError: the converter fails; its last line."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    config["rotary_pct"] = rope.get("partial_rotary_factor", 1.0)
    config.setdefault("n_ctx", 256)
    config |= _OLDER.get(CASES[case].kind, {})
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, content in tokenizer_files(Vocabulary.read(Metadata("x", values()), 1 << 20)).items():
        if name != "generation_config.json":
            (checkpoint / name).write_bytes(content)
    path = checkpoint.with_suffix(".gguf")
    command = [sys.executable, "-c", _CONVERT, str(source), str(checkpoint), str(path)]
    environment = {**os.environ, "NO_LOCAL_GGUF": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(f"not converted: {done.stderr.strip().splitlines()[-1]}")
    return path


def compared(source: Path, cases: list[str]) -> Iterator[tuple[str, float | str]]:
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            model = model_of(case)
            model.save_pretrained(Path(folder) / "original")
            try:
                found: float | str = difference(model, converted(source, Path(folder) / "original", case))
            except (BuildError, AssertionError, RuntimeError, ValueError, TypeError) as error:
                found = str(error).replace(folder, "")
            yield case, found


def main(source: Path, cases: list[str]) -> int:
    """Compare all, and print. Returns: the exit code."""
    wrong = 0
    for case, found in compared(source.resolve(), cases or list(CASES)):
        text = f"{found:.1e}" if isinstance(found, float) else found
        sys.stdout.write(f"{case:40} {text}\n")
        sys.stdout.flush()
        wrong += found > 1e-4 if isinstance(found, float) else 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
