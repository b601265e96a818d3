"""How long a sequence may be for OpenVINO's continuous batching to compute it right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ROPE_KEYS: Final = ("rope_parameters", "rope_scaling")
_LONGROPE: Final = ("longrope", "su")  # `su` is what the first checkpoints call it


def longest_sequence(config: Mapping[str, Any]) -> int | None:
    """Tokens of prompt and answer together; None is no limit but the model's own.

    Longrope turns all positions of a sequence by other angles once it is longer than the context that the model was
    first trained with. The pipeline computes many sequences in one step, and chooses one set of angles for all of
    them: a long sequence would change the answers of the short ones beside it, and its own halfway.
    """
    for rope in (config.get(key) for key in _ROPE_KEYS):
        if isinstance(rope, Mapping) and (rope.get("rope_type") or rope.get("type")) in _LONGROPE:
            name = "original_max_position_embeddings"
            original = rope.get(name) or config.get(name)
            return original if isinstance(original, int) and original > 0 else None
    return None
