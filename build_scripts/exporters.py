"""Runtime -> how a checkpoint becomes its model. A new runtime is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from build_scripts import openvino_export
from build_scripts.checkpoint import Checkpoint
from build_scripts.child import Child
from build_scripts.spec import BuildSection, Runtime
from triton_repo.errors import BuildError


@dataclass(frozen=True, slots=True)
class Exporter:
    """How one runtime builds.

    Attributes:
        export: writes the model into a new directory; None where the runtime has no weights.
        settings: the keys of [build] that `export` reads; a change of any other needs no new build.
        packages: distributions whose versions show in what `export` writes.
    """

    export: Callable[[Checkpoint, BuildSection, Path, Path], None] | None = None
    settings: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def source_names(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Files of the checkpoint that the engine is made of."""
        weights = () if self.export is None else checkpoint.weight_files()
        return (*weights, *checkpoint.text_files())

    def versions(self) -> dict[str, str]:
        """Of the packages that are installed; a machine that only serves has few of them."""
        installed = {name: _version(name) for name in self.packages}
        return {name: version for name, version in installed.items() if version is not None}

    def require_packages(self) -> None:
        """Raises: BuildError: a package that the export needs is not installed."""
        absent = sorted(set(self.packages) - set(self.versions()))
        if absent:
            raise BuildError(f"building needs {', '.join(absent)}: pip install 'conch[build,openvino]'")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _export_openvino(checkpoint: Checkpoint, build: BuildSection, output: Path, log: Path) -> None:
    Child("export", log).call(
        openvino_export.export,
        checkpoint=str(checkpoint.directory),
        weights=[name for name in checkpoint.weight_files() if name.endswith(".safetensors")],
        output=str(output),
        dtype=build.dtype,
        quantization=build.quantization,
    )


EXPORTERS: Final[Mapping[Runtime, Exporter]] = {
    "openvino": Exporter(
        export=_export_openvino,
        settings=("dtype", "quantization"),
        packages=("nncf", "openvino", "optimum-intel", "torch", "transformers"),
    ),
    "replay": Exporter(),
}
