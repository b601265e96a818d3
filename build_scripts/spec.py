"""An engine spec: the frozen, fully checked value of one `engines/*.toml` and the flags that override it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import Self

from triton_repo.errors import SpecError
from triton_repo.sampling import INT32_MAX, Sampling

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

Positive = Annotated[int, Field(ge=1, le=INT32_MAX)]
Runtime = Literal["openvino", "replay"]
Dtype = Literal["float32", "float16", "bfloat16"]
Quantization = Literal["none", "int8", "int4"]
KvCacheDtype = Literal["float32", "float16", "bfloat16", "u8"]

# An engine on the CPU shares it with every message that leaves, and each of its threads waits for the slowest: at 8
# streams of 90 M parameters on two cores, 50 ms delivers a sixth more tokens than 10 ms, and a text still flows.
FLUSH_INTERVALS_MS: Final[Mapping[str, float]] = {"openvino": 50.0, "replay": 10.0}

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
}


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class BuildSection(_Section):
    """`[build]`: what the engine is compiled for, named as `trtllm-build` names it. Lengths are in tokens.

    `max_seq_len` None is the checkpoint's `max_position_embeddings`; `max_num_tokens` bounds one engine iteration.
    """

    dtype: Dtype = "float32"
    quantization: Quantization = "none"
    max_seq_len: Annotated[int, Field(ge=2, le=INT32_MAX)] | None = None
    max_batch_size: Positive = 16
    max_num_tokens: Positive = 512
    tensor_parallel: Positive = 1
    pipeline_parallel: Positive = 1


class ServeSection(_Section):
    """`[serve]`: how a built engine runs; a change here needs no new build.

    `flush_interval_ms` 0 sends every token by itself; None is the runtime's own. `kv_cache_dtype` None follows
    `build.dtype`. `max_tokens_in_paged_kv_cache` None is a full batch of full sequences, capped in bytes.
    `num_threads` None is every core.
    """

    flush_interval_ms: Annotated[float, Field(ge=0, le=60_000)] | None = None
    kv_cache_dtype: KvCacheDtype | None = None
    max_tokens_in_paged_kv_cache: Positive | None = None
    enable_kv_cache_reuse: bool = True
    enable_chunked_context: bool = True
    num_threads: Positive | None = None


class SamplingSection(Sampling):
    """`[sampling]`: what the engine assumes where a request says nothing."""

    model_config = ConfigDict(extra="forbid")


class ReplaySection(_Section):
    """`[replay]`: the text that the replay runtime emits, and its pace per stream (0 = as fast as it can)."""

    text: Annotated[str, Field(min_length=1)]
    tokens_per_second: Annotated[float, Field(ge=0)] = 0.0


class EngineSpec(_Section):
    """One engine. `model` is a directory (relative to the spec file, or absolute) or a hub id `org/name`."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    model: Annotated[str, Field(min_length=1)]
    runtime: Runtime = "openvino"
    build: BuildSection = BuildSection()
    serve: ServeSection = ServeSection()
    sampling: SamplingSection = SamplingSection()
    replay: ReplaySection | None = None

    @property
    def flush_interval_ms(self) -> float:
        given = self.serve.flush_interval_ms
        return FLUSH_INTERVALS_MS[self.runtime] if given is None else given

    @property
    def kv_cache_dtype(self) -> KvCacheDtype:
        return self.serve.kv_cache_dtype or self.build.dtype

    @field_validator("runtime", mode="before")
    @classmethod
    def _not_yet(cls, value: object) -> object:
        if value == "tensorrt_llm":
            raise ValueError("not available in this version yet; allowed: openvino, replay")
        return value

    @model_validator(mode="after")
    def _rules_across_keys(self) -> Self:
        build = self.build
        for key in ("tensor_parallel", "pipeline_parallel"):
            size = getattr(build, key)
            if size > 1:
                needs = f"must be 1: runtime {self.runtime} does not split a model (that needs runtime tensorrt_llm)"
                raise broken_rule(f"build.{key}", size, needs)
        if build.max_num_tokens < build.max_batch_size:
            needs = f"must be ≥ build.max_batch_size ({build.max_batch_size}): each running sequence takes one"
            raise broken_rule("build.max_num_tokens", build.max_num_tokens, needs)
        if self.runtime == "replay" and self.replay is None:
            raise broken_rule("replay", None, "runtime replay needs a [replay] table with its text")
        if self.runtime != "replay" and self.replay is not None:
            raise broken_rule("replay", "[…]", f"runtime {self.runtime} plays no text: remove the [replay] table")
        if self.runtime == "replay" and build.quantization != "none":
            raise broken_rule("build.quantization", build.quantization, "must be none: runtime replay has no weights")
        return self


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
        if isinstance(table, dict):  # else the validation below says what is wrong with it
            table[last] = value
    try:
        return EngineSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SpecError(_complaint(first, file, overrides)) from error


def broken_rule(key: str, value: object, rule: str) -> PydanticCustomError:
    """A rule across keys, told like a rule about one."""
    return PydanticCustomError("rule", "{rule}", {"key": key, "value": value, "rule": rule})


def spec_complaint(origin: str, key: str, value: object, rule: str) -> str:
    """The one form of every complaint: where, which key, its value, what is allowed."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return f"{origin}: {key} = {shown}; {rule}" if origin else f"{key} = {shown}; {rule}"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{file}: no such file") from error
    except OSError as error:
        raise SpecError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: not valid TOML: {error}") from error


def _complaint(error: ErrorDetails, file: Path | None, overrides: Mapping[str, object]) -> str:
    context = error.get("ctx", {})
    key = context["key"] if error["type"] == "rule" else ".".join(str(part) for part in error["loc"])
    value = context["value"] if error["type"] == "rule" else error["input"]
    flag = FLAGS.get(key, key)
    if error["type"] == "missing" or (error["type"] == "rule" and value is None):
        where = f"{file}: {key}" if file else flag
        return f"{where}: {_rule(error)}"
    if key in overrides or file is None:
        return spec_complaint("", flag, value, _rule(error))
    return spec_complaint(str(file), key, value, _rule(error))


def _rule(error: ErrorDetails) -> str:
    """What is allowed, in words; pydantic's own words for the kinds that no spec has shown yet."""
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
    section: type[BaseModel] = EngineSpec if len(loc) == 1 else _SECTIONS[str(loc[0])]
    return list(section.model_fields)


_SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    "build": BuildSection,
    "serve": ServeSection,
    "sampling": SamplingSection,
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
    "rule": "{rule}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must not be empty",
    "string_type": "must be a string",
}
