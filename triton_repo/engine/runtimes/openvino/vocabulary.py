"""The bytes of each token, for OpenVINO's grammars: what of the tokenizer its pipeline has to know.

The pipeline (2026.4) reads them from the constants of a detokenizer, whatever else that computes. Its own converter
writes such a model only for tokenizers that OpenVINO can express; the bytes are known for all that are served here.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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
from triton_repo.engine.runtimes.ends import ends_by_use

# Special tokens that may be a part of an answer, and not only of the conversation around it: a call of a tool begins
# with one in many families.
_PARTS_OF_ANSWERS: Final = re.compile(
    r"tool|python_tag|call|channel|message|constrain|think|action|plugin", re.IGNORECASE
)
# Bytes that are no text in UTF-8: of what a grammar is made of, only text around tags allows them.
_NO_TEXT: Final = b"\xff"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a grammar knows of the tokens.

    XGrammar (0.1.31) masks every token without bytes where it allows most of the others, as in free text, and OpenVINO
    tells it of one end token only, which is exempt. So the end tokens differ: the one that ends a turn of chat may end
    an answer wherever the grammar is complete, the others where it allows few tokens, or is text around tags.

    Attributes:
        tokens: the bytes of each, by id. Empty for special ones, which leave no text: no grammar allows them.
        end_ids: the end tokens; the one that ends a turn comes first.
    """

    tokens: tuple[bytes, ...]
    end_ids: tuple[int, ...]

    def after(self, token: bytes) -> Vocabulary:
        """The same behind one more token."""
        return Vocabulary((token, *self.tokens), tuple(1 + id for id in self.end_ids))


def vocabulary_of(engine: EngineDirectory, config: EngineConfig) -> Vocabulary:
    tokenizer = Tokenizer.from_buffer(engine.tokenizer_file.read_bytes())
    detokenizer = make_detokenizer(tokenizer)
    known = tokenizer.get_vocab_size(with_added_tokens=True)
    silent = {*config.eos_token_ids, *_silent_ids(tokenizer)}
    tokens = (
        detokenizer.token_bytes(id) if id < known and id not in silent else b"" for id in range(config.vocab_size)
    )
    return Vocabulary(tuple(tokens), ends_by_use(engine, tokenizer, config.eos_token_ids))


def tokenizer_of(vocabulary: Vocabulary) -> Any:
    """A tokenizer that knows these tokens and can do nothing else."""
    tokens, ends = list(vocabulary.tokens), vocabulary.end_ids
    for id in ends:
        tokens[id] = b"" if id == ends[0] else _NO_TEXT
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "openvino_detokenizer.xml")
        openvino.save_model(_detokenizer(tokens), file, compress_to_fp16=False)
        known = {"eos_token_id": ends[0]} if ends else {}
        Path(directory, "config.json").write_text(json.dumps(known), encoding="utf-8")
        return openvino_genai.Tokenizer(directory)


def _silent_ids(tokenizer: Tokenizer) -> list[int]:
    added = json.loads(tokenizer.to_str()).get("added_tokens", [])
    return [token["id"] for token in added if token["special"] and not _PARTS_OF_ANSWERS.search(token["content"])]


def _detokenizer(tokens: Sequence[bytes]) -> openvino.Model:
    opset = openvino.opset15
    factory = openvino_tokenizers._get_factory()  # of its operations; it has no public name for it
    ids = opset.parameter([-1, -1], np.int64, name="ids")
    ends = np.cumsum([len(token) for token in tokens], dtype=np.int32)
    begins = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    characters = np.frombuffer(b"".join(tokens), np.uint8)
    tables = [opset.constant(table).output(0) for table in (begins, ends, characters)]
    decoded = factory.create("VocabDecoder", [opset.convert(ids, "i32").output(0), *tables], {})
    decoded.set_friendly_name("VocabDecoder")  # by which the pipeline finds it
    joined = factory.create("FuzeRagged", decoded.outputs()[:4], {})
    texts = factory.create("StringTensorPack", [*joined.outputs(), decoded.output(4)], {})
    return openvino.Model(texts.outputs(), [ids], "detokenizer")
