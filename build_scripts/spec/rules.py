"""The rules of a spec that follow from what its runtime can do (`contract/capabilities/runtimes.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pydantic import BaseModel

from build_scripts.spec.errors import Problem
from triton_repo.contract.capabilities.capabilities import Allowed, Capabilities
from triton_repo.contract.capabilities.runtimes import CAPABILITIES, flows_of
from triton_repo.contract.sampling import REQUEST_FIELDS

_OPTIONAL_KEYS: Final = sorted(frozenset[str]().union(*(each.keys for each in CAPABILITIES)))


def broken_rules(spec: BaseModel) -> Iterator[Problem]:
    """Each rule that an EngineSpec breaks, with its key, its value and what is allowed."""
    runtime, flow = _value(spec, "runtime"), _value(spec, "build.flow")
    able = next((each for each in flows_of(runtime) if each.flow == flow), None)
    if able is None:
        flows = [each.flow for each in flows_of(runtime)]
        others = " or ".join(f"runtime {each.runtime}" for each in CAPABILITIES if each.flow == flow)
        yield Problem("build.flow", flow, f"{_must_be(flows)} where runtime = {runtime} ({flow} needs {others})")
        return
    yield from _of_the_runtime(spec, able)
    if _is_given(spec, "speculative"):
        yield from _of_speculation(spec, able)
    for name in REQUEST_FIELDS:
        if (value := _value(spec, f"sampling.{name}")) is not None:
            rule = "is a parameter of each request and has no default of the engine: remove the key"
            yield Problem(f"sampling.{name}", value, rule)


def _of_the_runtime(spec: BaseModel, able: Capabilities) -> Iterator[Problem]:
    where = _where(able)
    for key in able.required:
        if not _is_given(spec, key):
            yield Problem(key, None, f"is required where {where}")
    for key in _OPTIONAL_KEYS:
        if key not in able.keys and _is_given(spec, key):
            needed = needs(lambda each, key=key: key in each.keys)  # type: ignore[misc]
            yield Problem(key, _shown(_value(spec, key)), f"{needed}: {_remove(spec, key)}")
    yield from _of_values(spec, able.allowed, where, able)


def _of_speculation(spec: BaseModel, able: Capabilities) -> Iterator[Problem]:
    mode = _value(spec, "speculative.mode")
    speculation = able.speculation.get(mode)
    if speculation is None:
        needed = needs(lambda each: mode in each.speculation)
        yield Problem("speculative.mode", mode, f"{_must_be(able.speculation)} where {_where(able)} ({mode} {needed})")
        return
    where = f"speculative.mode = {mode}"
    yield from _of_values(spec, speculation.allowed, where)
    for name in speculation.unsupported:
        if (value := _value(spec, f"sampling.{name}")) is not None:
            yield Problem(f"sampling.{name}", value, f"is not possible where {where}: remove the key")


def _of_values(spec: BaseModel, allowed: Allowed, where: str, able: Capabilities | None = None) -> Iterator[Problem]:
    for key, values in allowed.items():
        value = _value(spec, key)
        if value is None or value in values:
            continue
        if not values:
            yield Problem(key, _shown(value), f"is not possible where {where}: {_remove(spec, key)}")
            continue
        rule = f"{_must_be(values)} where {where}"
        reason = able.reasons.get(key) if able else None
        if reason is not None:
            rule += f": {reason}"
        elif able is not None:
            needed = needs(lambda each, key=key, value=value: value in each.allowed.get(key, (value,)))  # type: ignore[misc]
            rule += f" ({value} {needed})"
        yield Problem(key, value, rule)


def _value(spec: BaseModel, key: str) -> Any:
    value: Any = spec
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _is_given(spec: BaseModel, key: str) -> bool:
    """Whether a key has another value than it has in a spec that leaves it out."""
    section, _, name = key.rpartition(".")
    holder = _value(spec, section) if section else spec
    if holder is None:
        return False
    return bool(getattr(holder, name) != type(holder).model_fields[name].get_default())


def _shown(value: object) -> object:
    return "[…]" if isinstance(value, BaseModel) else value


def _remove(spec: BaseModel, key: str) -> str:
    return "remove the table" if isinstance(_value(spec, key), BaseModel) else "remove the key"


def _must_be(values: Iterable[object]) -> str:
    *others, last = (str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    return f"must be {', '.join(others)} or {last}" if others else f"must be {last}"


def _where(able: Capabilities) -> str:
    """What in a spec asks for this runtime, or for this flow of the runtime that has two."""
    has_flows = len(flows_of(able.runtime)) > 1
    return f"build.flow = {able.flow}" if has_flows else f"runtime = {able.runtime}"


def needs(is_able: Callable[[Capabilities], bool]) -> str:
    """The runtimes, and flows, that are able to, as the end of a sentence."""
    names = []
    for runtime in dict.fromkeys(each.runtime for each in CAPABILITIES):
        flows = [each.flow for each in flows_of(runtime) if is_able(each)]
        if len(flows) == len(flows_of(runtime)):
            names.append(f"runtime {runtime}")
        else:
            names += [f"runtime {runtime} with build.flow = {flow}" for flow in flows]
    return f"needs {' or '.join(names)}"
