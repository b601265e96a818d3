"""A GGUF checkpoint as a CheckpointView: one file, its split parts, or a directory that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from build_scripts.weights.gguf.families.known import family_of
from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.parts import gguf_file, read_parts
from build_scripts.weights.gguf.preparing import prepared
from build_scripts.weights.gguf.tokenizer.files import special_ids, tokenizer_files
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from build_scripts.weights.gguf.translation import to_huggingface
from build_scripts.weights.view import CheckpointView

# What llama.cpp's other programs write as GGUF files.
_KINDS: Final = {
    "adapter": "it is an adapter (LoRA): name the model, and the adapter as one of its own",
    "imatrix": "it is what a model was quantized by, and no model",
    "mmproj": "it is the encoder of images of another model: name the file of the model itself",
}


def open_gguf(path: Path, source: str) -> CheckpointView:
    """The checkpoint at `path`. Reads headers, and no weights but tables of rope scaling.

    Raises:
        BuildError: it is broken, of an architecture or a tokenizer that is not known; names file and key.
    """
    header = read_parts(gguf_file(path, source))
    meta = Metadata(str(header.path), header.values)
    _check_kind(meta)
    model = Model(meta, header.tensors)
    family = family_of(model)
    model = prepared(model, family)
    vocabulary = Vocabulary.read(meta, model.vocab_size)
    weights = to_huggingface(model, family)
    own: dict[str, Any] = {"architectures": [family.architecture], "model_type": family.model_type}
    config = {**own, **family.config(model), **special_ids(vocabulary)}
    return CheckpointView(source, config, weights, tokenizer_files(vocabulary))


def _check_kind(meta: Metadata) -> None:
    key = "general.type"
    kind = meta.values.get(key)
    if isinstance(kind, str) and kind in _KINDS:
        raise meta.error(key, _KINDS[kind])
