"""Which checkpoints make embeddings, scores or classes, and no text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.source.encoder_modules import has_modules

CLASSIFIER: Final = "ForSequenceClassification"
# Networks that read a text from both sides: without a head, or with that of their training, they embed it.
_ENCODERS: Final = frozenset(
    {
        "Albert",
        "Bert",
        "Camembert",
        "ConvBert",
        "Data2VecText",
        "Deberta",
        "DebertaV2",
        "DistilBert",
        "Electra",
        "Ernie",
        "EuroBert",
        "MPNet",
        "MegatronBert",
        "MobileBert",
        "ModernBert",
        "NomicBert",
        "RemBert",
        "Roberta",
        "RobertaPreLayerNorm",
        "SqueezeBert",
        "XLMRoberta",
        "XLMRobertaXL",
    }
)
_HEADS: Final = ("Model", "ForMaskedLM", "ForPreTraining")


def is_encoder(directory: Path, config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is built for runtime `embed` where its spec names no runtime."""
    names = architectures(config)
    if has_modules(directory) or any(name.endswith(CLASSIFIER) for name in names):
        return True
    return any(name.removesuffix(head) in _ENCODERS for name in names for head in _HEADS if name.endswith(head))


def is_classifier(directory: Path, config: Mapping[str, Any]) -> bool:
    """Of a checkpoint for runtime `embed`: it gives scores or classes, and no embeddings."""
    return not has_modules(directory) and any(name.endswith(CLASSIFIER) for name in architectures(config))


def architectures(config: Mapping[str, Any]) -> list[str]:
    names = config.get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []
