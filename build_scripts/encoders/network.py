"""A HuggingFace network and what follows it, as one torch module: token ids in, embeddings or logits out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from build_scripts.source.encoder_modules import DENSE_WEIGHTS, Dense, Modules

_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
}
_LEAST: Final = 1e-9  # sentence-transformers' own bound of a divisor


class Network(torch.nn.Module):
    """`forward` takes [rows, tokens] of each input and gives [rows, width]."""

    def __init__(self, model: torch.nn.Module, modules: Modules, checkpoint: Path) -> None:
        super().__init__()
        self.model = model
        self._pooling = modules.pooling
        self._activations = [layer.activation if layer else None for layer in modules.layers]
        layers = [_Linear(checkpoint / layer.folder) for layer in modules.layers if isinstance(layer, Dense)]
        self._layers = torch.nn.ModuleList(layers)

    @property
    def config(self) -> Any:
        """transformers' own."""
        return self.model.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if not self._pooling:
            logits: Tensor = self.model(**inputs).logits
            return logits
        if "use_cache" in inspect.signature(self.model.forward).parameters:
            inputs["use_cache"] = False
        hidden = self.model(**inputs).last_hidden_state
        result = torch.cat([pool(hidden, attention_mask, mode) for mode in self._pooling], dim=-1)
        linears = iter(self._layers)
        for activation in self._activations:
            if activation is None:
                result = functional.normalize(result, dim=-1)
            else:
                result = _ACTIVATIONS[activation](next(linears)(result))
        return result


class _Linear(torch.nn.Linear):
    def __init__(self, folder: Path) -> None:
        weights = {name.removeprefix("linear."): tensor for name, tensor in load_file(folder / DENSE_WEIGHTS).items()}
        outputs, inputs = weights["weight"].shape
        super().__init__(inputs, outputs, bias="bias" in weights)
        self.load_state_dict({name: tensor.float() for name, tensor in weights.items()})


def pool(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    """[rows, tokens, size] and a mask of the tokens that are there, at the beginning of each row: [rows, size]."""
    if mode == "cls":
        return hidden[:, 0]
    there = mask[:, :, None].to(hidden.dtype)
    if mode == "max":
        return hidden.masked_fill(there == 0, -torch.inf).amax(1)
    if mode == "lasttoken":
        last = (mask.sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, hidden.shape[2])
        return hidden.gather(1, last)[:, 0]
    weights = there * there.cumsum(1) if mode == "weightedmean" else there
    total = weights.sum(1).clamp(min=_LEAST)
    return (hidden * weights).sum(1) / (total.sqrt() if mode == "mean_sqrt_len_tokens" else total)


def input_names(token_types: bool) -> Sequence[str]:
    """In the order of `forward`."""
    return ("input_ids", "attention_mask", "token_type_ids") if token_types else ("input_ids", "attention_mask")
