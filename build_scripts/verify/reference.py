"""The source checkpoint run by transformers, which is what the shards are measured against.

The model is made of one of transformers' own classes; no code that a checkpoint may bring is ever loaded. Its weights
come in when a part of it is entered and go when it is left, so that memory holds one layer and not the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import safe_open

from build_scripts.architectures import decoder_of
from build_scripts.architectures.values import Mixture
from build_scripts.weights.view import CheckpointView, LazyTensor
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    from torch.nn import Module

EMBEDDING, LAYER, NORM, HEAD = "model.embed_tokens", "model.layers.", "model.norm", "lm_head"
# What transformers (5) calls the weights of a mixture, those of all experts in one.
ROUTER, GATE_UP, DOWN = "mlp.gate.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the model did: its embedding, a layer, its last norm or its head.

    Attributes:
        name: HuggingFace's, `model.layers.3`.
        weights: its weights, by their names in it: `self_attn.q_proj.weight`.
        inputs, outputs: those of the modules in it, `self_attn.q_proj`; of itself, ``.
    """

    name: str
    weights: Mapping[str, torch.Tensor]
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)


class Reference:
    """The checkpoint `view` with its weights rounded to `dtype`, computed in float32.

    Raises:
        BuildError: transformers rejects the configuration.
    """

    def __init__(self, view: CheckpointView, dtype: str) -> None:
        self._decoder = decoder_of(view.config, view.source)
        architecture: Any = getattr(transformers, self._decoder.architecture)
        try:
            config = architecture.config_class.from_dict(dict(view.config))
        except (StrictDataclassError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise BuildError(f"{view.source}: config.json: transformers rejects it: {reason}") from error
        plain = {"attn_implementation": "eager", "experts_implementation": "eager"}
        with torch.device("meta"):
            model = architecture._from_config(config, **plain, dtype=torch.float32)
        model.model.rotary_emb = type(model.model.rotary_emb)(config)  # computed, not loaded: must not be on meta
        self._model = model.eval()
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._view = view
        self._tied = bool(config.tie_word_embeddings)

    def run(self, tokens: torch.Tensor, watch: Callable[[Part], None] = lambda _: None) -> torch.Tensor:
        """The logits of `tokens` [sequences, positions]; `watch` is shown each part as soon as it is done."""
        with ExitStack() as stack, torch.no_grad():
            for name, module in self._parts():
                stack.enter_context(self._streamed(name, module, watch))
            logits: torch.Tensor = self._model(input_ids=tokens, use_cache=False).logits
            return logits

    def _parts(self) -> Iterator[tuple[str, Module]]:
        model = self._model
        yield EMBEDDING, model.model.embed_tokens
        yield from ((f"{LAYER}{number}", layer) for number, layer in enumerate(model.model.layers))
        yield NORM, model.model.norm
        yield HEAD, model.lm_head

    @contextmanager
    def _streamed(self, name: str, module: Module, watch: Callable[[Part], None]) -> Iterator[None]:
        parts: list[Part] = []

        def enter(*_: object) -> None:
            part = Part(name, {key: self._weight(name, key) for key in module.state_dict()})
            module.load_state_dict(part.weights, assign=True)
            if hasattr(module, "scalar_embed_scale"):  # Gemma 3's, of which a buffer is made that nothing stores
                module.embed_scale = torch.tensor(module.scalar_embed_scale)
            parts.append(part)

        def leave(*_: object) -> None:
            watch(parts.pop())
            module.to("meta")

        def record(inner: str) -> Callable[[Module, tuple[Any, ...], Any], None]:
            def note(_: Module, inputs: tuple[Any, ...], output: Any) -> None:
                first = output[0] if isinstance(output, tuple) else output  # a router gives probabilities and choices
                if inputs and isinstance(first, torch.Tensor):
                    parts[0].inputs[inner], parts[0].outputs[inner] = inputs[0], first

            return note

        with ExitStack() as hooks:
            hooks.callback(module.register_forward_pre_hook(enter).remove)
            for inner, submodule in module.named_modules():
                hooks.callback(submodule.register_forward_hook(record(inner)).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
            yield

    def _weight(self, name: str, key: str) -> torch.Tensor:
        """Weight `key` of the part `name`, by the names that transformers gives them in memory."""
        block = self._decoder.layer().block
        if not isinstance(block, Mixture):
            return self._read(f"{name}.{key}")
        if key == ROUTER:
            return _read(self._view.weights[f"{name}.{block.router.name}.weight"]).float()  # is not rounded
        if key == GATE_UP:
            pairs = ((expert.gate or expert.up, expert.up) for expert in block.experts)
            each = (torch.cat([self._read(f"{name}.{half.name}.weight") for half in pair]) for pair in pairs)
            return torch.stack(list(each))
        if key == DOWN:
            return torch.stack([self._read(f"{name}.{expert.down.name}.weight") for expert in block.experts])
        return self._read(f"{name}.{key}")

    def _read(self, name: str) -> torch.Tensor:
        """Rounded as the shards are: what is stored as w for a factor of 1 + w, as that factor."""
        if name == "lm_head.weight" and self._tied:
            name = "model.embed_tokens.weight"
        weight, offset = _read(self._view.weights[name]), self._decoder.norms.offset
        if not offset or weight.ndim != 1 or not name.endswith("norm.weight"):
            return weight.to(self._dtype).float()
        return (weight.float() + offset).to(self._dtype).float() - offset


def _read(tensor: LazyTensor) -> torch.Tensor:
    """By the safetensors library where it can: a mistake of our own reader would be in the shards as well."""
    if not tensor.origin.endswith(".safetensors"):
        return tensor.read()
    with safe_open(Path(tensor.origin), framework="pt") as file:
        read: torch.Tensor = file.get_tensor(tensor.name)
        return read
