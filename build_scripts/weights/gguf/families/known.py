"""All architectures that are known, by llama.cpp's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from build_scripts.weights.gguf.families import experts, gemma, gemma4, gpt, joined, llama, qwen, reordered
from build_scripts.weights.gguf.families.family import Family, Named
from build_scripts.weights.gguf.model import Model

_TABLES: Final = (llama, qwen, gemma, gemma4, reordered, gpt, experts, joined)
FAMILIES: Final[Mapping[str, Named]] = {name: family for table in _TABLES for name, family in table.FAMILIES.items()}
_STATE: Final = "it keeps a state that is not the keys and values of attention, which no runtime here serves"
_NO_TEXT: Final = "it writes no text"
_IMAGES: Final = "it is the encoder of images of another model: name the file of the model itself"
_DIFFUSION: Final = "it does not write one token after another"
# Of those that people have, and that are none of FAMILIES.
_REASONS: Final = {
    **dict.fromkeys(
        ("mamba", "mamba2", "jamba", "falcon-h1", "nemotron_h", "nemotron_h_moe", "granitehybrid", "plamo2", "rwkv6",
         "rwkv6qwen2", "rwkv7", "arwkv7", "lfm2", "lfm2moe", "kimi-linear", "qwen3next", "qwen35", "qwen35moe"),
        _STATE,
    ),
    **dict.fromkeys(
        ("bert", "nomic-bert", "nomic-bert-moe", "modern-bert", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
         "gemma-embedding", "llama-embed", "t5encoder", "wavtokenizer-dec"),
        _NO_TEXT,
    ),
    "clip": _IMAGES,
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), _DIFFUSION),
}  # fmt: skip


def family_of(model: Model) -> Family:
    """Raises: BuildError: the architecture is not known; says which are, or why it is not."""
    name = model.meta.architecture
    if name in FAMILIES:
        entry = FAMILIES[name]
        return entry if isinstance(entry, Family) else entry(model)
    known = f"known: {', '.join(sorted(FAMILIES))}"
    raise model.meta.error("general.architecture", _REASONS.get(name, known))
