"""The rotary embedding of a `config.json`, in every spelling that transformers has had for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.architectures.config_values import ConfigValues, is_positive
from build_scripts.architectures.values import Rope

ROPE_KEYS: Final = (
    *("rope_parameters", "rope_scaling", "rope_theta", "rope_local_base_freq"),
    *("partial_rotary_factor", "rope_percent"),
)
# Kinds of rope scaling that TensorRT-LLM's compiled rope_gpt_neox attention computes, by the keys that they need (yarn
# passes its configuration and is then not computed).
SCALINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def read_rope(
    values: ConfigValues,
    kinds: Mapping[str, tuple[str, ...]] = SCALINGS,
    fraction: float | None = None,
    theta: float = 10000.0,
    section: str | None = None,
) -> Rope:
    """Of `rope_theta` and `rope_scaling`, or of `rope_parameters`, which transformers writes since 5.

    Args:
        kinds: of scaling that the compiled attention of the family computes, by the keys that they need.
        fraction: of a head that is turned where the configuration is silent; None: a family that turns whole heads.
        theta: where the configuration is silent.
        section: the key of the object to read; None: `section_of`.

    Raises:
        BuildError: a value is broken. NotCompiled: the compiled attention does not compute it.
    """
    key = section or section_of(values)
    given = values.values.get(key)
    if given is not None and not isinstance(given, Mapping):
        raise values.error(key, "must be an object or null")
    scaling = dict(given or {})
    base = scaling.pop("rope_theta", None)
    base = values.number("rope_theta", theta) if base is None else base
    if not is_positive(base):
        raise values.error(key, "rope_theta must be a number > 0")
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", kind)
    if not isinstance(kind, str | None):
        raise values.error(key, "rope_type must be a string or null")
    turned = _fraction(values, key, scaling.pop("partial_rotary_factor", None), fraction)
    plain = kind is None or kind == "default"
    return Rope(float(base), None if plain else _scaling(values, key, str(kind), scaling, kinds), turned)


def section_of(values: ConfigValues) -> str:
    """The key of the object that says how the rotary embedding is stretched."""
    return "rope_parameters" if values.values.get("rope_parameters") is not None else "rope_scaling"


def _fraction(values: ConfigValues, key: str, given: object, default: float | None) -> float:
    value = values.values.get("partial_rotary_factor") if given is None else given
    if value is None:
        value = 1.0 if default is None else default
    if not is_positive(value) or value > 1:
        raise values.error(key, "partial_rotary_factor must be a number > 0 and ≤ 1")
    if default is None and value != 1:
        raise values.not_compiled(key, "partial_rotary_factor must be 1: this family rotates whole heads")
    return float(value)


def _scaling(
    values: ConfigValues, key: str, kind: str, given: Mapping[str, Any], kinds: Mapping[str, tuple[str, ...]]
) -> Mapping[str, Any]:
    if kind not in kinds:
        raise values.not_compiled(key, f"rope_type {kind}; allowed: {', '.join(('default', *kinds))}")
    for needed in kinds[kind]:
        if not is_positive(given.get(needed)):
            raise values.error(key, f"{needed} must be a number > 0 for rope_type {kind}")
    return {"rope_type": kind, **given}
