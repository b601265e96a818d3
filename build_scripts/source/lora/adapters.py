"""The LoRA adapters of `[build.lora]`: found and checked, for either runtime that serves them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from build_scripts.source.lora.peft import CONFIG, FILES, WEIGHTS, AdaptedLayer, check_files, read_peft
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.errors import spec_error
from build_scripts.spec.lora import LoraSection
from build_scripts.weights.safetensors import read_header
from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError

# HuggingFace's name of a module -> TensorRT-LLM's.
_MODULES: Final = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_dense",
    "gate_proj": "mlp_h_to_4h",
    "up_proj": "mlp_gate",
    "down_proj": "mlp_4h_to_h",
}
# Keys of PEFT's configuration that change what an adapter means, and the values that TensorRT-LLM can serve.
_PLAIN: Final[Mapping[str, tuple[Any, ...]]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layers_to_transform": (None, []),
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter; `weight_bytes` are those of its file, `layers` what it adapts (for `openvino` alone)."""

    name: str
    directory: Path
    rank: int
    weight_bytes: int
    layers: Mapping[str, AdaptedLayer] = field(default_factory=dict)

    def copy_to(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        for file in FILES:
            shutil.copyfile(self.directory / file, directory / file)


def find_adapters(spec: EngineSpec, base: Path, origin: str) -> tuple[Adapter, ...]:
    """The adapters that the spec names, each checked; `base` is where its relative paths start.

    Raises:
        SpecError: one does not exist, or the runtime cannot serve it together with the others.
    """
    section = spec.build.lora
    if section is None:
        return ()
    adapters = []
    for name, directory in section.adapters.items():
        try:
            adapters.append(read_adapter(spec, name, base / directory, section))
        except BuildError as error:
            raise spec_error(origin, f"build.lora.adapters.{name}", directory, str(error)) from error
    return tuple(adapters)


def read_adapter(spec: EngineSpec, name: str, directory: Path, section: LoraSection) -> Adapter:
    """Raises: BuildError: it does not exist, or the runtime cannot serve it within the bounds of `section`."""
    read = _for_openvino if spec.runtime == "openvino" else _for_tensorrt_llm
    return read(name, directory, section)


def _for_openvino(name: str, directory: Path, section: LoraSection) -> Adapter:
    layers = read_peft(directory)
    rank = max(layer.rank for layer in layers.values())
    if rank > section.max_rank:
        raise BuildError(f"its rank is {rank}; must be ≤ {section.max_rank}, build.lora.max_rank")
    weight_bytes = sum(layer.down.nbytes + layer.up.nbytes for layer in layers.values())
    return Adapter(name, directory, rank, weight_bytes, layers)


def _for_tensorrt_llm(name: str, directory: Path, section: LoraSection) -> Adapter:
    """Reads its configuration and the header of its weights. Raises: BuildError: the rule that is broken."""
    check_files(directory)
    config = parse_object((directory / CONFIG).read_bytes(), CONFIG)
    problem = _config_problem(config, section)
    if problem is not None:
        raise BuildError(problem)
    weights = read_header(directory / WEIGHTS)
    too_high = [name for name, tensor in weights.items() if tensor.shape and min(tensor.shape) > config["r"]]
    if too_high:
        raise BuildError(f"its r = {config['r']}, and {too_high[0]} has a higher rank")
    return Adapter(name, directory, config["r"], sum(tensor.nbytes for tensor in weights.values()))


def _config_problem(config: Mapping[str, Any], section: LoraSection) -> str | None:
    for key, allowed in _PLAIN.items():
        if config.get(key, allowed[-1]) not in allowed:
            return f"its {key} = {json.dumps(config[key])} cannot be served; allowed: {json.dumps(allowed[0])}"
    rank, modules = config.get("r"), config.get("target_modules")
    if not isinstance(rank, int) or not 1 <= rank <= section.max_rank:
        return f"its r = {json.dumps(rank)}; must be in 1 … {section.max_rank}, build.lora.max_rank"
    if not isinstance(modules, list) or not modules or not all(map(_is_module, modules)):
        return f"its target_modules = {json.dumps(modules)}; must be a list, of {', '.join(_MODULES)}"
    absent = sorted({_MODULES[module] for module in modules} - set(section.target_modules))
    return f"adapts {', '.join(absent)} too, which must be in build.lora.target_modules" if absent else None


def _is_module(value: object) -> bool:
    return isinstance(value, str) and value in _MODULES
