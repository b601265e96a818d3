"""The tables of capabilities as Markdown, for `engines/README.md`: python -m build_scripts.spec.capability_table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, get_args

from build_scripts.spec.engine_spec import Quantization
from triton_repo.contract.capabilities.capabilities import OPTIONAL_FIELDS, Capabilities, Runtime, Speculation
from triton_repo.contract.capabilities.runtimes import CAPABILITIES, IN_EARLIER_APIS

_NOTHING = "–"
_TABLES: Final = sorted(
    (*CAPABILITIES, *IN_EARLIER_APIS),
    key=lambda able: (get_args(Runtime).index(able.runtime), able.flow, able.api or ""),
)


def capability_table() -> str:
    """A row for each ability, a column for each runtime, flow and LLM API."""
    rows = [["ability", *map(_title, _TABLES)], ["---"] * (1 + len(_TABLES))]
    rows += [[name, *map(ability, _TABLES)] for name, ability in _ABILITIES.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _title(able: Capabilities) -> str:
    api = f", {able.flow}, {able.api}" if able.api else ""
    return f"`{able.runtime}`{api}"


def _quantizations(able: Capabilities) -> str:
    return _names(able.allowed.get("build.quantization", get_args(Quantization)))


def _splits(able: Capabilities) -> str:
    return "1" if "build.tensor_parallel" in able.allowed else "any size that divides the model"


def _own_keys(able: Capabilities) -> str:
    common = frozenset.intersection(*(each.keys for each in CAPABILITIES))
    return _names(sorted(able.keys - common - {"speculative"}))


def _own_flags(able: Capabilities) -> str:
    return _names(sorted(able.flags))


def _modes(able: Capabilities) -> str:
    return _names(able.speculation)


def _without(able: Capabilities) -> str:
    return _by_mode(able, lambda mode: _names((*mode.unsupported, *(() if mode.logprobs else ("logprobs",)))))


def _demands(able: Capabilities) -> str:
    return _by_mode(able, lambda mode: "; ".join(_demand(key, values) for key, values in mode.allowed.items()))


def _demand(key: str, values: tuple[object, ...]) -> str:
    return f"`{key}` {' or '.join(str(value).lower() for value in values)}" if values else f"no `{key}`"


def _guides(able: Capabilities) -> str:
    if able.built_in_guides is not None:
        return f"always: {_names(able.guides[able.built_in_guides])}"
    return _lines(f"`{backend}`: {_names(types)}" for backend, types in able.guides.items())


def _logprobs(able: Capabilities) -> str:
    return f"with `{able.logprobs_key}`" if able.logprobs_key else "yes"


def _alternatives(able: Capabilities) -> str:
    return str(able.max_logprobs)


def _of_prompts(able: Capabilities) -> str:
    if able.max_prompt_logprobs is not None:
        return _unless_speculative(able)
    return "with `serve.prompt_logprobs`" if "serve.prompt_logprobs" in able.keys else _NOTHING


def _biases(able: Capabilities) -> str:
    return _unless_speculative(able) if able.logit_bias else _NOTHING


def _unless_speculative(able: Capabilities) -> str:
    return "without `speculative`" if able.speculation else "yes"


def _adapters(able: Capabilities) -> str:
    return "with `build.lora`" if "build.lora" in able.keys else _NOTHING


def _optional(name: str) -> Callable[[Capabilities], str]:
    return lambda able: "yes" if name in able.optional_fields else _NOTHING


def _seeds(able: Capabilities) -> str:
    return "of every request" if able.repeatable_seeds else "of the first request of a batch"


def _cached_tokens(able: Capabilities) -> str:
    return "yes" if able.counts_cached_tokens else _NOTHING


def _by_mode(able: Capabilities, ability: Callable[[Speculation], str]) -> str:
    """Modes that are alike share a line."""
    modes: dict[str, list[str]] = defaultdict(list)
    for mode, speculation in able.speculation.items():
        modes[ability(speculation)].append(mode)
    return _lines(f"{_names(names)}: {text}" for text, names in modes.items())


def _names(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names) or _NOTHING


def _lines(lines: Iterator[str]) -> str:
    return "<br>".join(lines) or _NOTHING


_ABILITIES: dict[str, Callable[[Capabilities], str]] = {
    "`build.quantization`": _quantizations,
    "`build.tensor_parallel`, `build.pipeline_parallel`": _splits,
    "keys that not every runtime takes": _own_keys,
    "options of `conch build` that not every runtime takes": _own_flags,
    "`speculative.mode`": _modes,
    "the mode demands": _demands,
    "requests must then leave alone": _without,
    "guides, with `serve.guided_decoding_backend`": _guides,
    "`logprobs` of the tokens": _logprobs,
    "alternatives to a token (`top_logprobs`)": _alternatives,
    "logprobs of prompts (`prompt_logprobs`)": _of_prompts,
    "`logit_bias`": _biases,
    "`lora_name`": _adapters,
    **{f"`{name}`": _optional(name) for name in OPTIONAL_FIELDS},
    "`seed` fixes the random numbers": _seeds,
    "`cached_tokens` in the usage": _cached_tokens,
}

if __name__ == "__main__":
    print(capability_table(), end="")  # noqa: T201 - what the command is for
