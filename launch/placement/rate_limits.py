"""The units of resources that Triton's rate limiter hands out to calls of models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from triton_repo.contract.errors import LaunchError
from triton_repo.embed.settings import EncoderConfig

_FLAG: Final = "--rate-limit-resource"
_RESOURCE: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_.-]{0,63}):(?P<units>[1-9][0-9]{0,6})")


def read_resources(flags: Iterable[str]) -> Mapping[str, int]:
    """Units by name. Raises: LaunchError: a flag is not NAME:UNITS, or a name is given twice."""
    units: dict[str, int] = {}
    for flag in flags:
        match = _RESOURCE.fullmatch(flag)
        if match is None:
            raise LaunchError(f"{_FLAG} {flag}: must be NAME:UNITS, with 1 unit or more")
        if match["name"] in units:
            raise LaunchError(f"{_FLAG} {flag}: {match['name']} is given twice")
        units[match["name"]] = int(match["units"])
    return units


def resource_arguments(given: Mapping[str, int], encoders: Sequence[EncoderConfig]) -> tuple[str, ...]:
    """Arguments of tritonserver; none where nothing is limited.

    Where some units are given, Triton (2.51) has none of all others: so the encoders' own are added, as many of each as
    the one that takes most says, which is what Triton does by itself where none are given.

    Raises:
        LaunchError: an encoder takes more at once than there is.
    """
    needed: dict[str, int] = {}
    for encoder in encoders:
        limiter = encoder.placement.rate_limiter
        for name, units in (limiter.resources if limiter else {}).items():
            if units > given.get(name, units):
                rule = f"must be ≥ {units}, which a call of {encoder.name} takes"
                raise LaunchError(f"{_FLAG} {name}:{given[name]}: {rule}")
            needed[name] = max(units, needed.get(name, 0))
    if not given and not needed:
        return ()
    every = {**needed, **given} if given else {}
    return ("--rate-limit=execution_count", *(f"{_FLAG}={name}:{units}" for name, units in every.items()))
