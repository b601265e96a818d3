"""What sentence-transformers' files say follows the network: pooling, dense layers, normalization, and prompts.

`modules.json` lists the modules, each with a folder; a checkpoint without it is pooled by the mean, as
sentence-transformers does with one. Only JSON is read: the modules are this file's own, and no name in it is imported.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from build_scripts.spec.embed import Pooling
from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError

MODULES: Final = "modules.json"
TRANSFORMER_SETTINGS: Final = "sentence_bert_config.json"
ENCODER_SETTINGS: Final = "config_sentence_transformers.json"
DENSE_WEIGHTS: Final = "model.safetensors"
_CONFIG: Final = "config.json"
# In the order in which their results stand side by side.
_POOLING_KEYS: Final[Mapping[str, Pooling]] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS: Final = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "Sigmoid": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer, with its weights in `folder`, and what follows it."""

    folder: str
    activation: str


@dataclass(frozen=True, slots=True)
class Modules:
    """What follows the network.

    Attributes:
        pooling: each gives an embedding, and they stand side by side; empty for a network that gives numbers itself.
        layers: what the result goes through, in this order; None is normalization to length 1.
        max_tokens: the checkpoint's own limit; None where it does not say.
    """

    pooling: tuple[Pooling, ...] = ()
    layers: tuple[Dense | None, ...] = ()
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    @property
    def normalized(self) -> bool:
        return bool(self.layers) and self.layers[-1] is None


def has_modules(directory: Path) -> bool:
    return (directory / MODULES).is_file()


def module_files(directory: Path) -> tuple[str, ...]:
    """Those of `promised_module_files` that are there."""
    return tuple(name for name in promised_module_files(directory) if (directory / name).is_file())


def promised_module_files(directory: Path) -> list[str]:
    """Names of the files that `read_modules` reads, and of the weights of dense layers; some may be missing."""
    names = [MODULES, TRANSFORMER_SETTINGS, ENCODER_SETTINGS]
    for folder, kind in _listed(directory):
        if folder:
            names.append(f"{folder}/{_CONFIG}")
            names += [f"{folder}/{DENSE_WEIGHTS}"] if kind == "Dense" else []
    return names


def read_modules(directory: Path, source: str) -> Modules:
    """Raises: BuildError: a file is broken, or a module is of a kind that is not known here."""
    listed = _listed(directory)
    pooling: tuple[Pooling, ...] = () if listed else ("mean",)
    layers: list[Dense | None] = []
    for folder, kind in listed:
        values = _object(directory / folder / _CONFIG) if folder else {}
        if kind == "Pooling":
            pooling = _pooling(values, source, folder)
        elif kind == "Dense":
            layers.append(_dense(values, source, folder))
        elif kind == "Normalize":
            layers.append(None)
        elif kind not in ("Transformer", "Dropout"):
            known = "Transformer, Pooling, Dense, Normalize and Dropout"
            raise BuildError(f"{source}: {MODULES}: a module of type {kind}; known are {known}")
    settings = _object(directory / ENCODER_SETTINGS)
    prompts = {name: text for name, text in (settings.get("prompts") or {}).items() if isinstance(text, str)}
    default = settings.get("default_prompt_name")
    longest = _object(directory / TRANSFORMER_SETTINGS).get("max_seq_length")
    return Modules(
        pooling,
        tuple(layers),
        longest if isinstance(longest, int) and longest > 0 else None,
        prompts,
        default if default in prompts else None,
    )


def _listed(directory: Path) -> list[tuple[str, str]]:
    """The folder of each module, which the network itself has none of, and its type without the package."""
    if not has_modules(directory):
        return []
    text = (directory / MODULES).read_bytes().removeprefix(codecs.BOM_UTF8)
    listed = parse_object(b'{"modules": %s}' % text, MODULES)["modules"]
    found = []
    for module in listed if isinstance(listed, list) else []:
        folder, kind = str(module.get("path", "")), str(module.get("type", "")).rpartition(".")[2]
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise BuildError(f"{MODULES}: path = {folder!r}; must be a folder of the checkpoint")
        found.append((folder, kind))
    return found


def _pooling(values: Mapping[str, Any], source: str, folder: str) -> tuple[Pooling, ...]:
    if values.get("include_prompt") is False:
        rule = "pooling that leaves out a prompt is not possible here"
        raise BuildError(f"{source}: {folder}/{_CONFIG}: include_prompt = false; {rule}")
    given = values.get("pooling_mode")
    modes = given if isinstance(given, list) else [given]
    if given is None:
        modes = [mode for key, mode in _POOLING_KEYS.items() if values.get(key) is True] or ["mean"]
    for mode in modes:
        if mode not in get_args(Pooling):
            known = ", ".join(get_args(Pooling))
            raise BuildError(f"{source}: {folder}/{_CONFIG}: pooling_mode = {mode!r}; known are {known}")
    return tuple(modes)


def _dense(values: Mapping[str, Any], source: str, folder: str) -> Dense:
    name = str(values.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if name not in _ACTIVATIONS or values.get("use_residual"):
        rule = f"known are {', '.join(_ACTIVATIONS)}, without a residual"
        raise BuildError(f"{source}: {folder}/{_CONFIG}: activation_function = {name!r}; {rule}")
    return Dense(folder, _ACTIVATIONS[name])


def _object(file: Path) -> Mapping[str, Any]:
    return parse_object(file.read_bytes(), str(file), repeated_keys=True) if file.is_file() else {}
