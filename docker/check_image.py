"""Whether a GPU image has what serving needs, as far as that can be seen without a GPU: run where the image is built.

    python3 docker/check_image.py VERSION     of TensorRT-LLM, which the image must have

TensorRT-LLM itself is not imported: it needs the driver's libraries, which a host adds when a container starts.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from launch.tritonserver import STUB, TritonInstallation, find_tritonserver
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.llm_api import SUPPORTED, llm_api_of

# What comes with the driver: libcuda.so.1, libnvidia-ml.so.1.
_OF_THE_DRIVER: Final = re.compile(r"lib(cuda|nvidia-\w+)\.so")
# What runs in the gateway, in the models and in the first build, less what imports TensorRT-LLM or Triton's own module.
_PACKAGES: Final = (
    "build_scripts.weights",
    "gateway",
    "launch",
    "triton_repo.contract",
    "triton_repo.detokenize",
    "triton_repo.engine.loop",
    "triton_repo.preprocess",
)


def problems(version: str) -> Iterator[str]:
    """One sentence for each thing that is not as it must be; none if the image can serve."""
    found = _installed("tensorrt_llm")
    if found != version:
        yield f"the image has TensorRT-LLM {found}, and should have {version}"
    if llm_api_of(version) is None:
        yield f"Conch runs on TensorRT-LLM {SUPPORTED}, and not on {version}"
    yield from _import_problems()
    try:
        installation = find_tritonserver(os.environ)
    except LaunchError as error:
        yield str(error)
        return
    yield from library_problems(installation)


def library_problems(installation: TritonInstallation) -> Iterator[str]:
    """Shared libraries that Triton, its Python backend or its stub are linked with, and that are nowhere."""
    backend = (installation.backends or installation.binary.parents[1] / "backends") / "python"
    stub = installation.stub or backend / STUB
    for file in (installation.binary, stub, backend / "libtriton_python.so"):
        if not file.is_file():
            yield f"{file} is not there"
            continue
        environment = {**os.environ, **installation.environment}
        linked = subprocess.run(["ldd", file], env=environment, capture_output=True, encoding="utf-8", check=False)
        if linked.returncode:
            yield f"{file}: {linked.stderr.strip()}"
        yield from (f"{file} needs {library}, which is not there" for library in missing_libraries(linked.stdout))


def missing_libraries(ldd_output: str) -> list[str]:
    """The libraries that `ldd` did not find, less those of the driver."""
    missing = re.findall(r"^\s*(\S+) => not found", ldd_output, re.MULTILINE)
    return [library for library in missing if not _OF_THE_DRIVER.match(library)]


def _import_problems() -> Iterator[str]:
    for name in (*_modules(), "tritonclient.grpc"):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the image cannot serve
            yield f"importing {name} fails: {type(error).__name__}: {error}"


def _modules() -> Iterator[str]:
    for name in _PACKAGES:
        package = importlib.import_module(name)
        yield from (module.name for module in pkgutil.walk_packages(package.__path__, f"{name}."))


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def main(version: str) -> int:
    found = list(problems(version))
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if not found:
        triton = Path("/opt/tritonserver/TRITON_VERSION")
        of_triton = triton.read_text(encoding="utf-8").strip() if triton.is_file() else "of unknown version"
        sys.stdout.write(f"TensorRT-LLM {version}, Triton {of_triton}, Python {sys.version.split()[0]}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
