"""The directory of an adapter that is to be loaded: where it may lie, and what an engine is to find of it."""

from __future__ import annotations

import re
from pathlib import Path

from build_scripts.builders import BUILDERS
from build_scripts.engine.manifest import Manifest
from build_scripts.source.lora.adapters import read_adapter
from build_scripts.source.lora.peft import FILES
from launch.serving.options import ADAPTERS_FLAG
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError, LaunchError
from triton_repo.contract.sampling import ADAPTER_NAME


def allowed_directory(allowed: Path | None, path: str) -> Path:
    """Raises: LaunchError: the directory, or a file in it, lies elsewhere once all links are followed."""
    if allowed is None:
        raise LaunchError(f"path = {path!r}: conch serve was started without {ADAPTERS_FLAG}, below which it must lie")
    try:
        root, found = allowed.resolve(), (allowed / path).resolve()
        followed = [found, *((found / file).resolve() for file in FILES)]
    except (OSError, RuntimeError, ValueError):
        raise LaunchError(f"path = {path!r}: is no path") from None
    if not all(each.is_relative_to(root) for each in followed):
        raise LaunchError(f"path = {path!r}: must lie below {ADAPTERS_FLAG}, {allowed}, with all its files")
    return found


def write_adapter(engine: EngineDirectory, name: str, source: Path, target: Path) -> None:
    """Check the adapter in the directory `source` as a build does, and write it, as the engine reads it, to a new one.

    Raises:
        LaunchError: the rule that it breaks.
    """
    if not re.fullmatch(ADAPTER_NAME, name):
        raise LaunchError(f"adapter {name[:80]!r}: must match {ADAPTER_NAME}")
    try:
        spec = Manifest.load(engine).spec
        if spec.build.lora is not None:  # else there is no room for one
            adapter = read_adapter(spec, name, source, spec.build.lora)
            BUILDERS[spec.runtime].add_adapter(adapter, engine.model, target)
    except BuildError as error:
        raise LaunchError(f"path = {str(source)!r}: {error}") from error
    except OSError as error:
        raise LaunchError(f"path = {str(source)!r}: {error.strerror or error}") from error
