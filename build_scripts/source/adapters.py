"""The LoRA adapters of `[build.lora]`: found and checked, copied into the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.errors import spec_error
from build_scripts.spec.tensorrt_llm import LoraSection
from build_scripts.weights.safetensors import read_header
from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError

FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
_CONFIG, _WEIGHTS = FILES
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
    """One adapter; `weight_bytes` are those of its file."""

    name: str
    directory: Path
    rank: int
    weight_bytes: int

    def copy_to(self, adapters: Path) -> None:
        (adapters / self.name).mkdir(parents=True)
        for file in FILES:
            shutil.copyfile(self.directory / file, adapters / self.name / file)


def find_adapters(spec: EngineSpec, base: Path, origin: str) -> tuple[Adapter, ...]:
    """The adapters that the spec names, each checked; `base` is where its relative paths start.

    Raises:
        SpecError: one does not exist, or TensorRT-LLM cannot serve it together with the others.
    """
    section = spec.build.lora
    if section is None:
        return ()
    adapters = []
    for name, directory in section.adapters.items():
        try:
            adapters.append(_adapter(name, base / directory, section))
        except BuildError as error:
            raise spec_error(origin, f"build.lora.adapters.{name}", directory, str(error)) from error
    return tuple(adapters)


def _adapter(name: str, directory: Path, section: LoraSection) -> Adapter:
    """Reads its configuration and the header of its weights. Raises: BuildError: the rule that is broken."""
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        needed = f"must be a directory with {' and '.join(FILES)}"
        raise BuildError(f"{needed}; it lacks {', '.join(missing)} (looked in {directory})")
    config = parse_object((directory / _CONFIG).read_bytes(), _CONFIG)
    problem = _config_problem(config, section)
    if problem is not None:
        raise BuildError(problem)
    weights = read_header(directory / _WEIGHTS)
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
