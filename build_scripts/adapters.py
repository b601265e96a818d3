"""The LoRA adapters of `[build.lora]`: found and checked beside the spec, copied into the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.lora import LoraSection
from build_scripts.spec import EngineSpec
from build_scripts.spec_reading import spec_complaint
from triton_repo.errors import SpecError

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
    name: str
    directory: Path

    def copy_to(self, adapters: Path) -> None:
        (adapters / self.name).mkdir(parents=True)
        for file in FILES:
            shutil.copyfile(self.directory / file, adapters / self.name / file)


def find_adapters(spec: EngineSpec, base: Path, origin: str) -> tuple[Adapter, ...]:
    """The adapters that the spec names, each checked; `base` is where its relative paths start.

    Raises:
        SpecError: one is not there, or TensorRT-LLM cannot serve it beside the others.
    """
    section = spec.build.lora
    if section is None:
        return ()
    for name, directory in section.adapters.items():
        complaint = _complaint(base / directory, section)
        if complaint is not None:
            raise SpecError(spec_complaint(origin, f"build.lora.adapters.{name}", directory, complaint))
    return tuple(Adapter(name, base / directory) for name, directory in section.adapters.items())


def _complaint(directory: Path, section: LoraSection) -> str | None:
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        return f"must be a directory with {' and '.join(FILES)}; it lacks {', '.join(missing)} (looked in {directory})"
    try:
        config = json.loads((directory / _CONFIG).read_bytes())
    except ValueError as error:
        return f"{_CONFIG} is not valid JSON: {error}"
    return _of_config(config, section) if isinstance(config, dict) else f"{_CONFIG} must be a JSON object"


def _of_config(config: Mapping[str, Any], section: LoraSection) -> str | None:
    for key, allowed in _PLAIN.items():
        if config.get(key, allowed[-1]) not in allowed:
            return f"its {key} = {json.dumps(config[key])} cannot be served; allowed: {json.dumps(allowed[0])}"
    rank, modules = config.get("r"), config.get("target_modules")
    if not isinstance(rank, int) or not 1 <= rank <= section.max_rank:
        return f"its r = {json.dumps(rank)}; must be in 1 … {section.max_rank}, build.lora.max_rank"
    if not isinstance(modules, list) or not modules or not set(modules) <= _MODULES.keys():
        return f"its target_modules = {json.dumps(modules)}; must be a list, of {', '.join(_MODULES)}"
    absent = sorted({_MODULES[module] for module in modules} - set(section.target_modules))
    return f"adapts {', '.join(absent)} too, which must be in build.lora.target_modules" if absent else None
