"""The engines of one `conch serve`: built where they are not, and left out where they cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from triton_repo.contract.distribution import install_command
from triton_repo.contract.errors import BuildError, LaunchError
from triton_repo.contract.steps import STEPS, step_model


class ServedEngine(Protocol):
    """What serving needs of a built engine."""

    @property
    def name(self) -> str:
        """That of its ensemble."""

    @property
    def kind(self) -> str:
        """What it is for: generate, embed, rerank or classify."""

    def hold(self) -> AbstractContextManager[Path]:
        """Its Triton model repository, which stays as it is until the end of the block."""


E = TypeVar("E", bound=ServedEngine)


def build_engines(specs: Sequence[str], build: Callable[[str], E], say: Callable[[str], None]) -> tuple[E, ...]:
    """The engines of `specs`, in their order. One that cannot be built does not keep the others from being served.

    Raises:
        BuildError: none can be built; the first one's reason.
        LaunchError: two engines have a model of the same name in Triton.
        SpecError: a spec is not there, or not allowed.
    """
    engines: list[E] = []
    failures: list[BuildError] = []
    for spec in specs:
        try:
            engines.append(build(spec))
        except BuildError as error:
            failures.append(error)
            if len(specs) > 1:
                say(f"{spec} is not served: {error}")
    if not engines:
        raise failures[0]
    check_names(engine.name for engine in engines)
    return tuple(engines)


def check_encoders(names: Iterable[str], openvino: str | None) -> None:
    """`openvino`: its version here. Raises: LaunchError: these encoders need it, and it is not installed."""
    if openvino is None and (needing := ", ".join(names)):
        raise LaunchError(f"{needing}: encoders run on OpenVINO, which is not installed: {install_command('openvino')}")


def check_names(names: Iterable[str]) -> None:
    """Raises: LaunchError: two engines have a model of the same name in Triton."""
    owners: dict[str, str] = {}  # by model
    for name in names:
        for model in (name, *(step_model(name, step) for step in STEPS)):
            if (owner := owners.get(model)) is not None:
                both = f"engines {owner} and {name} both have a model {model}"
                clash = f"engine {name} is named twice" if owner == name else both
                raise LaunchError(f"{clash}; each engine of one server needs its own name")
            owners[model] = name
