"""What an operator says of names: aliases, and which version of a model a name means."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from gateway.catalog.settings_file import read_settings_file
from triton_repo.contract.errors import LaunchError

LATEST: Final = "latest"

Target = str | Mapping[str, int]
Policy = Literal["latest"] | int | Mapping[int, int]

_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TARGET: Final = re.compile(r"[^@:\s]{1,64}(@[1-9][0-9]{0,8})?(:[^@:\s]{1,64})?")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
_MAX_WEIGHT: Final = 1_000_000
_WEIGHTS: Final = f"whole numbers from 0 to {_MAX_WEIGHT}, one of them above 0"


@dataclass(frozen=True, slots=True)
class Rules:
    """
    Attributes:
        aliases: the name that another one stands for, or several and the weight of each.
        versions: of models by name: the latest one that is there, a certain one, or several and the weight of each.
    """

    aliases: Mapping[str, Target] = field(default_factory=dict)
    versions: Mapping[str, Policy] = field(default_factory=dict)


def read_aliases(flags: Iterable[str]) -> Mapping[str, Target]:
    """Those of `--alias ALIAS=NAME`. Raises: LaunchError: one has another form, or is given twice."""
    aliases: dict[str, Target] = {}
    for flag in flags:
        alias, _, target = flag.partition("=")
        if not _ALIAS.fullmatch(alias) or not _TARGET.fullmatch(target):
            raise LaunchError(f"--alias {flag}: must be ALIAS=NAME, ALIAS=NAME@VERSION or ALIAS=NAME:ADAPTER")
        if alias in aliases:
            raise LaunchError(f"--alias {flag}: {alias} is given twice")
        aliases[alias] = target
    return aliases


def read_rules(file: Path | None, flags: Iterable[str] = ()) -> Rules:
    """The rules of a file, and the aliases of the command line.

    Raises:
        LaunchError: names the file, the key, its value and what is allowed.
    """
    aliases = read_aliases(flags)
    if file is None:
        return _checked(Rules(aliases), "--alias")
    values = _read_toml(file)
    for key in values:
        if key not in ("aliases", "versions"):
            raise LaunchError(f"{file}: {key}: unknown key; allowed: aliases, versions")
    tables = {key: _table(values.get(key, {}), f"{file}: {key}") for key in ("aliases", "versions")}
    for alias in tables["aliases"]:
        if alias in aliases:
            raise LaunchError(f"{file}: aliases.{alias}: is given by --alias too")
    ours = {alias: _target(f"{file}: aliases.{alias}", alias, value) for alias, value in tables["aliases"].items()}
    versions = {name: _policy(f"{file}: versions.{name}", name, value) for name, value in tables["versions"].items()}
    return _checked(Rules({**aliases, **ours}, versions), f"{file}: aliases")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_settings_file(file))
    except RecursionError as error:
        raise LaunchError(f"{file}: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError is
        raise LaunchError(f"{file}: not valid TOML: {error}") from error


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LaunchError(f"{where} = {_shown(value)}: must be a table")
    return value


def _target(where: str, alias: str, value: object) -> Target:
    if not _ALIAS.fullmatch(alias):
        raise LaunchError(f"{where}: an alias must match {_ALIAS.pattern}")
    if isinstance(value, str) and _TARGET.fullmatch(value):
        return value
    if isinstance(value, dict) and value and all(map(_TARGET.fullmatch, value)):
        return _weights(where, value)
    rule = "must be NAME, NAME@VERSION or NAME:ADAPTER, or a table of weights by such names"
    raise LaunchError(f"{where} = {_shown(value)}: {rule}")


def _policy(where: str, name: str, value: object) -> Policy:
    if not _NAME.fullmatch(name):
        raise LaunchError(f"{where}: the name of a model must match {_NAME.pattern}")
    if value == LATEST:
        return LATEST
    if type(value) is int and value >= 1:
        return value
    if isinstance(value, dict) and value and all(map(_VERSION.fullmatch, value)):
        return {int(version): weight for version, weight in _weights(where, value).items()}
    raise LaunchError(f"{where} = {_shown(value)}: must be latest, a version, or a table of weights by version")


def _weights(where: str, table: Mapping[str, object]) -> dict[str, int]:
    weights = {key: weight for key, weight in table.items() if type(weight) is int and 0 <= weight <= _MAX_WEIGHT}
    if len(weights) < len(table) or not any(weights.values()):
        raise LaunchError(f"{where} = {_shown(table)}: weights must be {_WEIGHTS}")
    return weights


def _checked(rules: Rules, where: str) -> Rules:
    """Raises: LaunchError: an alias stands for another one, so that it may stand for itself."""
    for alias, target in rules.aliases.items():
        for name in [target] if isinstance(target, str) else target:
            if name in rules.aliases:
                raise LaunchError(f"{where}: {alias} = {name}: is an alias itself; must be the name of a model")
    return rules


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
