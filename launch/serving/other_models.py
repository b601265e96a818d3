"""Models beside the engines: those of Triton model repositories that the operator names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from triton_repo.contract.errors import LaunchError
from triton_repo.contract.steps import STEPS, step_model

FLAG: Final = "--model-repository"

_NAME: Final = re.compile(r"[A-Za-z0-9_.:@+=,~-]+")  # as URLs and unquoted command lines have it, and no pattern
_OF_A_FILE_SYSTEM: Final = "lost+found"  # where a repository has a disk of its own; its user's alone


def find_models(repositories: Sequence[Path]) -> Mapping[str, Path]:
    """The repository of each model, by its name: a folder with a config.pbtxt or a version.

    Raises:
        LaunchError: a repository is none, cannot be read, has no model, or has one that another has too, or one of a
            name that Triton or HTTP cannot take.
    """
    owners: dict[str, Path] = {}
    for repository in repositories:
        try:
            names = _models_in(repository)
        except OSError as error:
            raise LaunchError(f"{FLAG} {repository}: cannot be read: {error.strerror}") from error
        for name in names:
            if not _NAME.fullmatch(name):
                raise LaunchError(f"{FLAG} {repository}: model {name!r}: allowed are letters, digits and _.:@+=,~-")
            if name in owners:
                raise LaunchError(
                    f"{FLAG} {repository}: model {name} is in {owners[name]} too; each needs its own name"
                )
            owners[name] = repository
    return owners


def python_models(others: Mapping[str, Path]) -> list[str]:
    """Those that Triton runs in processes of their own, with which it shares memory."""
    return [name for name, repository in others.items() if any((repository / name).glob("*/model.py"))]


def check_apart(engines: Iterable[str], others: Mapping[str, Path]) -> None:
    """Raises: LaunchError: a model has the name of an engine, or of a step of one."""
    for engine in engines:
        for model in (engine, *(step_model(engine, step) for step in STEPS)):
            if model in others:
                rule = f"engine {engine} has a model of that name"
                raise LaunchError(f"{FLAG} {others[model]}: model {model}: {rule}; rename the folder and its config")


def check_required(required: Iterable[str], served: Iterable[str]) -> None:
    """Raises: LaunchError: a model without which the server is never ready is not served."""
    names = [*served]
    for name in required:
        if name not in names:
            raise LaunchError(f"--required-models {name}: is not served; served are {', '.join(names)}")


def _models_in(repository: Path) -> list[str]:
    if not repository.is_dir():
        raise LaunchError(f"{FLAG} {repository}: must be a directory of Triton models")
    names = sorted(entry.name for entry in repository.iterdir() if _is_model(entry))
    if not names:
        raise LaunchError(f"{FLAG} {repository}: has no model: no folder with a config.pbtxt or a version 1")
    return names


def _is_model(folder: Path) -> bool:
    if not folder.is_dir() or folder.name.startswith(".") or folder.name == _OF_A_FILE_SYSTEM:
        return False
    return (folder / "config.pbtxt").is_file() or any(each.name.isdecimal() for each in folder.iterdir())
