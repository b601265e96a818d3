"""The tokenizer that TensorRT-LLM makes grammars with.

It lets one token end a guided answer, the `eos_token` of the tokenizer that it is given, whatever end tokens a request
names (`_xgrammar_tokenizer_info` in tensorrt_llm/llmapi/tokenizer.py; llguidance gets the same). Gemma and Phi end a
turn with another one: where a form may go on, as free text does, their answers would not end.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.engine.runtimes.ends import ends_by_use, eos_token


@contextmanager
def guide_tokenizer(engine: EngineDirectory, config: EngineConfig) -> Iterator[Path]:
    """The engine's own, or a copy whose `eos_token` ends a turn; a copy is gone after the block."""
    tokenizer = Tokenizer.from_file(str(engine.tokenizer_file))
    ends = ends_by_use(engine, tokenizer, config.eos_token_ids)
    end = tokenizer.id_to_token(ends[0]) if ends else None
    if end is None or end == eos_token(engine):
        yield engine.tokenizer
        return
    with tempfile.TemporaryDirectory(prefix="conch-tokenizer-") as directory:
        copy = Path(shutil.copytree(engine.tokenizer, directory, dirs_exist_ok=True))
        file = copy / "tokenizer_config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**settings, "eos_token": end}), encoding="utf-8")
        (copy / "special_tokens_map.json").unlink(missing_ok=True)  # it would win
        yield copy
