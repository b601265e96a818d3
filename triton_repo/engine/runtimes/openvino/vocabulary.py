"""The bytes of each token, for OpenVINO's grammars: what of the tokenizer its pipeline has to know.

The pipeline (2026.4) reads them from the constants of a detokenizer, whatever else that computes. Its own converter
writes such a model only for tokenizers that OpenVINO can express; the bytes are known for all that are served here.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai
import openvino_tokenizers
from tokenizers import Tokenizer

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.detokenize.detokenizer import make_detokenizer

# Special tokens that may be a part of an answer, and not only of the conversation around it: a call of a tool begins
# with one in many families.
_PARTS_OF_ANSWERS: Final = re.compile(
    r"tool|python_tag|call|channel|message|constrain|think|action|plugin", re.IGNORECASE
)


def vocabulary_of(engine: EngineDirectory, config: EngineConfig) -> list[bytes]:
    """By id. Empty for what no grammar may allow: end tokens, which end it, and special ones, which leave no text."""
    tokenizer = Tokenizer.from_buffer(engine.tokenizer_file.read_bytes())
    detokenizer = make_detokenizer(tokenizer)
    known = tokenizer.get_vocab_size(with_added_tokens=True)
    silent = {*config.eos_token_ids, *_silent_ids(tokenizer)}
    return [detokenizer.token_bytes(id) if id < known and id not in silent else b"" for id in range(config.vocab_size)]


def tokenizer_of(vocabulary: Sequence[bytes]) -> Any:
    """A tokenizer that knows these tokens and can do nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "openvino_detokenizer.xml")
        openvino.save_model(_detokenizer(vocabulary), file, compress_to_fp16=False)
        return openvino_genai.Tokenizer(directory)


def _silent_ids(tokenizer: Tokenizer) -> list[int]:
    added = json.loads(tokenizer.to_str()).get("added_tokens", [])
    return [token["id"] for token in added if token["special"] and not _PARTS_OF_ANSWERS.search(token["content"])]


def _detokenizer(vocabulary: Sequence[bytes]) -> openvino.Model:
    opset = openvino.opset15
    factory = openvino_tokenizers._get_factory()  # of its operations; it has no public name for it
    ids = opset.parameter([-1, -1], np.int64, name="ids")
    ends = np.cumsum([len(token) for token in vocabulary], dtype=np.int32)
    begins = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    characters = np.frombuffer(b"".join(vocabulary), np.uint8)
    tables = [opset.constant(table).output(0) for table in (begins, ends, characters)]
    decoded = factory.create("VocabDecoder", [opset.convert(ids, "i32").output(0), *tables], {})
    decoded.set_friendly_name("VocabDecoder")  # by which the pipeline finds it
    joined = factory.create("FuzeRagged", decoded.outputs()[:4], {})
    texts = factory.create("StringTensorPack", [*joined.outputs(), decoded.output(4)], {})
    return openvino.Model(texts.outputs(), [ids], "detokenizer")
