"""Whether the weights that lie there are the weights that the configuration asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from build_scripts.architectures.decoder import Decoder
from build_scripts.weights.view import WEIGHT_DTYPES, LazyTensor
from triton_repo.contract.errors import BuildError

# Tables that can be computed and that old checkpoints carry along.
_COMPUTED: Final = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.(inv_freq|cos_cached|sin_cached)")
_TIED: Final = "lm_head.weight"  # some tied checkpoints store the embedding a second time
_SHOWN = 3


def check_weights(decoder: Decoder, weights: Mapping[str, LazyTensor], source: str) -> None:
    """Compare names, shapes and dtypes with what `decoder` needs.

    Raises:
        BuildError: names what is missing, what is surplus, or the tensor, its shape or dtype and the one wanted.
    """
    wanted = decoder.weight_shapes()
    _refuse(source, "missing", [name for name in wanted if name not in weights])
    tied = {_TIED} if decoder.tied_embeddings else set()
    surplus = [name for name in weights if name not in wanted and name not in tied and not _COMPUTED.fullmatch(name)]
    _refuse(source, "more than the configuration has", surplus)
    for name, shape in wanted.items():
        tensor = weights[name]
        if tensor.shape != shape:
            raise BuildError(f"{tensor.origin}: {name}: shape {_shown(tensor.shape)}; config.json asks {_shown(shape)}")
        if tensor.dtype not in WEIGHT_DTYPES:
            raise BuildError(f"{tensor.origin}: {name}: dtype {tensor.dtype}; allowed: {', '.join(WEIGHT_DTYPES)}")


def _refuse(source: str, what: str, names: Iterable[str]) -> None:
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - _SHOWN} others" if len(listed) > _SHOWN else ""
        noun = "weight is" if len(listed) == 1 else "weights are"
        raise BuildError(f"{source}: {len(listed)} {noun} {what}: {', '.join(listed[:_SHOWN])}{more}")


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
