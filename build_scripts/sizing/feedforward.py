"""The parameters of one feed-forward block: plain, or a mixture of experts."""

from __future__ import annotations

from build_scripts.sizing.numbers import Numbers
from build_scripts.sizing.shape import Layer
from build_scripts.sizing.traits import Traits
from triton_repo.contract.errors import BuildError

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def num_experts(numbers: Numbers) -> int:
    return numbers.find(*_EXPERTS) or 0


def expert_size(numbers: Numbers) -> int:
    return numbers.find("moe_intermediate_size") or numbers.intermediate_size


def dense(numbers: Numbers, traits: Traits, inner: int | None = None) -> Layer:
    hidden, inner = numbers.hidden_size, inner or numbers.intermediate_size
    wide = 2 if traits.gated else 1
    rest = wide * inner + hidden if traits.mlp_bias(numbers) else 0
    return Layer(linear=(wide + 1) * hidden * inner, rest=rest)


def experts(numbers: Numbers, traits: Traits) -> Layer:
    """The router is small and every rank's; experts are shared out, each of them or among ranks."""
    hidden, count, inner = numbers.hidden_size, num_experts(numbers), expert_size(numbers)
    width = numbers.find("moe_latent_size") or hidden  # what the experts read and write
    wide = 2 if traits.gated else 1
    linear = count * (wide + 1) * width * inner
    rest = count * (wide * inner + width) + count if traits.expert_bias else 0
    rest += count if traits.router_bias else 0
    copied = hidden * count + (2 * hidden * width if width != hidden else 0)
    shared = _shared_size(numbers, inner)
    linear += (wide + 1) * hidden * shared
    return Layer(linear, copied + (hidden if traits.shared_gate and shared else 0), rest)


def _shared_size(numbers: Numbers, inner: int) -> int:
    given = numbers.find(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"
    )
    if given is not None:
        return (
            given * (numbers.find("n_shared_experts") or 1)
            if "moe_shared_expert_intermediate_size" in numbers.values
            else given
        )
    return (numbers.find("n_shared_experts", "num_shared_experts") or 0) * inner


def has_experts(numbers: Numbers, layer: int) -> bool:
    """Whether `layer` is a mixture; the first ones, or every second, may be plain."""
    if not num_experts(numbers):
        return False
    given = numbers.values.get("moe_layer_freq")
    listed = given if isinstance(given, list) else [kind == "sparse" for kind in numbers.words("mlp_layer_types")]
    if listed:
        return layer < len(listed) and bool(listed[layer])
    only = numbers.values.get("mlp_only_layers") or []
    if not isinstance(only, list):
        raise BuildError(f"{numbers.source}: config.json: mlp_only_layers = {only!r:.40}; must be a list of layers")
    plain = layer < (numbers.find("first_k_dense_replace") or 0) or layer in only
    return not plain and (layer + 1) % (numbers.find("decoder_sparse_step") or 1) == 0
