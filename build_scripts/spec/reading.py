"""Finds and reads a spec; an error in it names the file or flag, the key, its value and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from build_scripts.spec.embed import EmbedSection
from build_scripts.spec.engine_spec import BuildSection, EngineSpec, ReplaySection, SamplingSection, ServeSection
from build_scripts.spec.errors import Problem
from build_scripts.spec.lora import LoraSection
from build_scripts.spec.placement import PlacementSection, RateLimiterSection
from build_scripts.spec.speculative import SpeculativeSection
from build_scripts.spec.tensorrt_llm import CompileSection
from triton_repo.contract.capabilities.capabilities import Runtime
from triton_repo.contract.errors import SpecError

ENGINES: Final = Path(__file__).resolve().parents[2] / "engines"
# Flags of `conch build` by the key that they override.
FLAGS: Final[Mapping[str, str]] = {
    "name": "--name",
    "model": "--model",
    "runtime": "--runtime",
    "build.dtype": "--dtype",
    "build.quantization": "--quantization",
    "build.max_seq_len": "--max-seq-len",
    "build.max_batch_size": "--max-batch-size",
    "build.max_num_tokens": "--max-num-tokens",
    "build.tensor_parallel": "--tp",
    "build.pipeline_parallel": "--pp",
    "build.flow": "--flow",
}


def read_spec(file: Path | None, overrides: Mapping[str, object] | None = None) -> EngineSpec:
    """The spec in `file` (None: flags alone) with `overrides` ({"build.dtype": "float16"}) on top.

    Raises:
        SpecError: names the file or the flag, the key, the value and what is allowed.
    """
    overrides = overrides or {}
    values = _read_toml(file) if file else {}
    for key, value in overrides.items():
        *section, last = key.split(".")
        table = values.setdefault(section[0], {}) if section else values
        if isinstance(table, dict):  # else the validation below reports it
            table[last] = value
    try:
        return EngineSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SpecError(_message(first, file, overrides)) from error


def for_runtime(spec: EngineSpec, runtime: Runtime, origin: str) -> EngineSpec:
    """The spec as if it named this runtime. Raises: SpecError: it says what that does not take."""
    try:
        return EngineSpec.model_validate({**spec.model_dump(exclude_unset=True), "runtime": runtime})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SpecError(_message(first, Path(origin), {})) from error


def spec_file(spec_or_name: str) -> Path | None:
    """The file of a spec, or of the name of one in `engines/`; None where there is no such name."""
    if spec_or_name.endswith(".toml"):
        return Path(spec_or_name)
    named = ENGINES / f"{spec_or_name}.toml"
    return named if named.is_file() and "/" not in spec_or_name else None


def require_spec_file(spec_or_name: str) -> Path:
    """As `spec_file`. Raises: SpecError: `engines/` has no such name."""
    file = spec_file(spec_or_name)
    if file is None:
        raise SpecError(f"{spec_or_name}: neither a spec file nor one of engines/: {named_specs()}")
    return file


def named_specs() -> str:
    """The names of the specs in `engines/`, for people."""
    return ", ".join(sorted(file.stem for file in ENGINES.glob("*.toml")))


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{file}: no such file") from error
    except OSError as error:
        raise SpecError(f"{file}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise SpecError(f"{file}: nested too deeply") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: not valid TOML: {error}") from error


def _message(error: ErrorDetails, file: Path | None, overrides: Mapping[str, object]) -> str:
    context = error.get("ctx", {})
    key = context["key"] if error["type"] == "rule" else ".".join(str(part) for part in error["loc"])
    value = context["value"] if error["type"] == "rule" else error["input"]
    flag = FLAGS.get(key, key)
    if error["type"] == "missing" or (error["type"] == "rule" and value is None):
        where = f"{file}: {key}" if file else flag
        return f"{where}: {_rule(error)}"
    if key in overrides or file is None:
        return Problem(flag, value, _rule(error)).message("")
    return Problem(key, value, _rule(error)).message(str(file))


def _rule(error: ErrorDetails) -> str:
    """What is allowed; in pydantic's words for kinds of errors that have no words here."""
    context = error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"unknown key; allowed: {', '.join(_fields_of(error['loc']))}"
    if kind == "literal_error":
        return f"allowed: {str(context['expected']).replace(' or ', ', ').replace(chr(39), '')}"
    if kind == "value_error":
        return str(context["error"])
    return _RULES.get(kind, error["msg"]).format(**context)


def _fields_of(loc: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = EngineSpec if len(loc) == 1 else _SECTIONS[".".join(map(str, loc[:-1]))]
    return list(section.model_fields)


_SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    "embed": EmbedSection,
    "build": BuildSection,
    "build.compile": CompileSection,
    "build.lora": LoraSection,
    "serve": ServeSection,
    "placement": PlacementSection,
    "placement.rate_limiter": RateLimiterSection,
    "sampling": SamplingSection,
    "speculative": SpeculativeSection,
    "replay": ReplaySection,
}

_RULES: Final[Mapping[str, str]] = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be ≥ {ge}",
    "int_type": "must be a whole number",
    "less_than_equal": "must be ≤ {le}",
    "missing": "is required",
    "model_type": "must be a table",
    "multiple_of": "must be a multiple of {multiple_of}",
    "rule": "{rule}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must not be empty",
    "too_long": "must have at most {max_length} of them",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} of them",
    "string_type": "must be a string",
}
