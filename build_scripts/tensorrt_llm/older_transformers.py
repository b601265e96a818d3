"""Files of a checkpoint for TensorRT-LLM 1.2, whose transformers (4.57) reads what version 5 writes only in part.

What transformers 5 writes under new names alone is written under the old ones beside them: without `rope_theta` and
`rope_scaling` transformers 4 assumes a theta of 10,000 and no scaling, and the answers are wrong without any error.
Both versions read the same values from the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.strict_json import has_mark, parse_object

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_FULL, _SLIDING = "full_attention", "sliding_attention"  # kinds of layers with a rotary embedding each
_LOCAL_THETA: Final = "rope_local_base_freq"
# What these model types of transformers 4 call a value that the others call `rope_theta` or `partial_rotary_factor`.
_OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "gpt_neox_japanese": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "modernbert-decoder": {"rope_theta": "global_rope_theta", _LOCAL_THETA: "local_rope_theta"},
}
_KNOWN: Final = frozenset({"default", "linear", "dynamic", "yarn", "longrope", "llama3"})  # `rope_type`
_NOT_FINITE: Final = ("Infinity", "-Infinity", "NaN")
_LONGROPE: Final = ("type", "short_factor", "long_factor")  # and no other key: Phi-3 in transformers 4 rejects others


def older_files(directory: Path) -> dict[str, str]:
    """The files of the checkpoint in `directory` that must read otherwise: name -> text, without byte order marks.

    Raises:
        BuildError: one of them is no JSON object.
    """
    rewrites = {CONFIG: older_config, TOKENIZER_CONFIG: older_tokenizer_config}
    marked = (path for path in directory.glob("*.json") if path.is_file() and has_mark(path))
    files = {path.name: path.read_text(encoding="utf-8-sig") for path in marked}
    for name, rewrite in rewrites.items():
        if not (directory / name).is_file():
            continue
        values = parse_object((directory / name).read_bytes(), str(directory / name), repeated_keys=True)
        if (older := rewrite(values)) != values:
            files[name] = json.dumps(older, indent=2) + "\n"
    return files


def older_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` with both spellings of every key that has moved; a config that has the old ones stays as it is."""
    inner = config.get("text_config")
    nested = {"text_config": older_config(inner)} if isinstance(inner, Mapping) else {}
    old = {**_rope(config), **_dtype(config), **_experts(config)}
    names = _OLD_NAMES.get(str(config.get("model_type")), {})
    old |= {names[key]: value for key, value in old.items() if key in names}
    kept = {key: _plain(value) for key, value in config.items()}
    return {**kept, **{key: value for key, value in old.items() if config.get(key) is None}, **nested}


def older_tokenizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json` by the names of classes that transformers 4 has.

    It knows special tokens without a name of their own as a list of `additional_special_tokens`.
    """
    older = dict(config)
    if older.get("tokenizer_class") in {"TokenizersBackend", "TokenizersBackendFast"}:
        older["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(older.get("extra_special_tokens"), list):
        extra = older.pop("extra_special_tokens")
        older["additional_special_tokens"] = older.get("additional_special_tokens") or extra
    return older


def _plain(value: Any) -> Any:
    """Numbers that JSON has not: transformers 5 writes `{"__float__": "Infinity"}`, and both read `Infinity`."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    is_float = isinstance(value, Mapping) and value.keys() == {"__float__"}
    return float(value["__float__"]) if is_float and value["__float__"] in _NOT_FINITE else value


def _dtype(config: Mapping[str, Any]) -> dict[str, Any]:
    value = config.get("dtype")
    return {} if value is None else {"torch_dtype": value}


def _experts(config: Mapping[str, Any]) -> dict[str, Any]:
    value = config.get("num_local_experts")
    return {} if value is None else {"num_experts": value}


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` as `rope_theta`, `rope_scaling`, `partial_rotary_factor` and `rope_local_base_freq`.

    A kind that transformers 4 does not know is of a model that it does not know.
    """
    given = config.get("rope_parameters")
    if not isinstance(given, Mapping):
        return {}
    each = [given, *(value for value in given.values() if isinstance(value, Mapping))]
    if any(str(value.get("rope_type") or value.get("type") or "default") not in _KNOWN for value in each):
        return {}
    if not isinstance(given.get(_FULL), Mapping):
        return _flat_rope(given)
    local = given.get(_SLIDING)
    theta = local.get("rope_theta") if isinstance(local, Mapping) else None
    return _flat_rope(given[_FULL]) | ({} if theta is None else {_LOCAL_THETA: theta})


def _flat_rope(given: Mapping[str, Any]) -> dict[str, Any]:
    scaling = dict(given)
    old: dict[str, Any] = {key: scaling.pop(key) for key in ("rope_theta", "partial_rotary_factor") if key in scaling}
    kind = scaling.pop("rope_type", None) or scaling.pop("type", None) or "default"
    if kind != "default" or scaling:
        values = {"type": kind, "rope_type": kind, **scaling}
        old["rope_scaling"] = {key: values[key] for key in _LONGROPE if key in values} if kind == "longrope" else values
    return old
