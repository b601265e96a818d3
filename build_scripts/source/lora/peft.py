"""Reads a LoRA adapter as PEFT (0.21) writes it: for each layer that it adapts two matrices and their scale.

An adapted layer computes `W x + scale · B (A x)`. Whatever else PEFT's configuration can ask for is rejected by its
key, and so is every tensor that is no such matrix: an adapter is served as it was trained, or not at all.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.safetensors import read_header
from build_scripts.weights.strict_json import parse_object
from build_scripts.weights.view import WEIGHT_DTYPES, LazyTensor
from triton_repo.contract.errors import BuildError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES: Final = (CONFIG, WEIGHTS)
_TENSOR: Final = re.compile(r"base_model\.model\.(?P<module>[\w.-]{1,512})\.lora_(?P<side>[AB])\.weight")
# Keys that change nothing once an adapter is trained, or only which layers are adapted, which its tensors say.
_HARMLESS: Final = frozenset(
    {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying"}
    | {"lora_dropout", "fan_in_fan_out", "megatron_core", "runtime_config", "qalora_group_size"}
    | {"eva_config", "loftq_config", "corda_config", "lora_ga_config", "velora_config"}
)
_READ: Final = frozenset({"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"})
# Values of keys that would have the layers compute something else; the first one is what may be written.
_PLAIN: Final[Mapping[str, tuple[Any, ...]]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    # Of these the layers of the model are as the checkpoint has them; PiSSA, OLoRA, LoftQ and others change those too.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva", None),
}
# `rank_pattern` and `alpha_pattern` are regular expressions. Without quantifiers, and with alternatives in few groups,
# few ways to match one are tried.
_PATTERN: Final = re.compile(r"[\w.^|()\[\]\\-]{1,512}")
_MAX_GROUPS: Final = 2
_MAX_ALTERNATIVES: Final = 128


@dataclass(frozen=True, slots=True)
class AdaptedLayer:
    """`down` (A) is [rank, in], `up` (B) is [out, rank]."""

    down: LazyTensor
    up: LazyTensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def read_peft(directory: Path) -> dict[str, AdaptedLayer]:
    """By the name of the module in HuggingFace's model; reads the configuration and the header of the weights.

    Raises:
        BuildError: the rule that is broken, by its key or tensor.
    """
    check_files(directory)
    config = parse_object((directory / CONFIG).read_bytes(), CONFIG)
    _check_config(config)
    sides: dict[str, dict[str, LazyTensor]] = {}
    for name, tensor in read_header(directory / WEIGHTS).items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            rule = "only base_model.model.LAYER.lora_A.weight and lora_B.weight are served"
            raise BuildError(f"its tensor {name} cannot be served: {rule}")
        if tensor.dtype not in WEIGHT_DTYPES or len(tensor.shape) != 2 or not all(tensor.shape):
            raise BuildError(f"its tensor {name} is {tensor.dtype} {list(tensor.shape)}; must be a matrix of floats")
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    if not sides:
        raise BuildError(f"its {WEIGHTS} has no tensors")
    return {module: _layer(module, both, config) for module, both in sides.items()}


def check_files(directory: Path) -> None:
    """Raises: BuildError: it is no directory of an adapter, or its weights are no safetensors."""
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        needed = f"must be a directory with {' and '.join(FILES)}"
        raise BuildError(f"{needed}; it lacks {', '.join(missing)} (looked in {directory})")


def _check_config(config: Mapping[str, Any]) -> None:
    for key, allowed in _PLAIN.items():
        value = config.get(key, allowed[-1])
        if not any(value is each or (isinstance(value, str) and value == each) for each in allowed):
            raise BuildError(f"its {key} = {_shown(value)} cannot be served; allowed: {json.dumps(allowed[0])}")
    for key, value in config.items():
        if key not in _HARMLESS and key not in _READ and key not in _PLAIN and value not in (None, False, 0, [], {}):
            raise BuildError(f"its {key} = {_shown(value)} cannot be served; must be absent")
    if type(config.get("r")) is not int or config["r"] < 1:
        raise BuildError(f"its r = {_shown(config.get('r'))}; must be a whole number ≥ 1")
    if not isinstance(config.get("use_rslora", False), bool):
        raise BuildError(f"its use_rslora = {_shown(config['use_rslora'])}; must be true or false")
    _check_number("lora_alpha", config.get("lora_alpha"))
    for key in ("rank_pattern", "alpha_pattern"):
        _check_patterns(key, config.get(key))


def _check_patterns(key: str, patterns: object) -> None:
    if patterns is not None and not isinstance(patterns, dict):
        raise BuildError(f"its {key} = {_shown(patterns)}; must be an object")
    for pattern, value in (patterns or {}).items():
        _check_number(f"{key}.{pattern}", value)
        if not _is_simple(pattern):
            rule = f"must be a name, or a pattern with at most {_MAX_GROUPS} groups, and without * + ? {{"
            raise BuildError(f"its {key} has the key {_shown(pattern)}; {rule}")


def _is_simple(pattern: str) -> bool:
    if not _PATTERN.fullmatch(pattern) or pattern.count("(") > _MAX_GROUPS or pattern.count("|") > _MAX_ALTERNATIVES:
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _check_number(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < abs(value) <= sys.float_info.max:
        raise BuildError(f"its {key} = {_shown(value)}; must be a number, and not 0")


def _layer(module: str, sides: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> AdaptedLayer:
    absent = {"A", "B"} - set(sides)
    if absent:
        raise BuildError(f"its layer {module} lacks lora_{absent.pop()}.weight")
    _check_targets(module, config.get("target_modules"))
    rank = _of_pattern(config.get("rank_pattern"), module, config["r"])
    down, up = sides["A"], sides["B"]
    if down.shape[0] != rank or up.shape[1] != rank:
        shapes = f"lora_A {list(down.shape)} and lora_B {list(up.shape)}"
        raise BuildError(f"its layer {module} has {shapes}; its configuration says rank {rank:g}")
    alpha = _of_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return AdaptedLayer(down, up, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _check_targets(module: str, targets: object) -> None:
    """A list names layers by how their names end. PEFT would ignore the tensors of others."""
    if isinstance(targets, list) and not any(module == each or module.endswith(f".{each}") for each in targets):
        raise BuildError(f"its layer {module} is not among its target_modules")


def _of_pattern(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """As PEFT's `get_pattern_key` finds it: the first pattern that matches the end of the name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
