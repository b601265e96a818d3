"""The two images for NVIDIA GPUs: what they are made of, and that Conch moves nothing of what NVIDIA put there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from build_scripts.tensorrt_llm.argv import IMAGE
from launch.tritonserver import find_tritonserver
from tests.docker.dockerfile import DOCKER, GPU_IMAGES, Instruction, base, instructions, last
from tests.docker.pins import pins
from triton_repo.contract.llm_api import llm_api_of

COMPILED, CURRENT = GPU_IMAGES
# Of docker/common/install_triton.sh in NVIDIA's TensorRT-LLM repository, by the libraries that they bring.
DEBIAN = {
    "libarchive": "libarchive-dev",
    "libb64": "libb64-dev",
    "libdcgm": "datacenter-gpu-manager-4-cuda13",
    "libnuma": "libnuma-dev",
    "libxml2": "libxml2-dev",
}
# What a Triton image is known to have: by NVIDIA's docker/Dockerfile.multi, and by compose.py of Triton's repository.
OF_TRITON = {f"/opt/tritonserver/{part}" for part in ("bin", "lib", "backends/python", "LICENSE", "TRITON_VERSION")}
# In every image of CUDA that has curl and Python.
OF_THE_BASE = {
    "libc",
    "libcrypto",
    "libcudart",
    "libcurl",
    "libgcc_s",
    "libm",
    "libpython3",
    "libssl",
    "libstdc++",
    "libz",
}
NVIDIA_ENTRYPOINT = "/opt/nvidia/nvidia_entrypoint.sh"


def own(image: Path) -> list[Instruction]:
    """What is done with the base: from the first variable on."""
    found = instructions(image)
    return found[[each.name for each in found].index("ENV") :]


def test_the_compiled_image_is_the_container_that_compiles() -> None:
    assert base(COMPILED) == IMAGE


def test_both_images_add_conch_in_the_same_way() -> None:
    def without_version(image: Path) -> list[Instruction]:
        return [
            Instruction(i.name, re.sub(r"(check_image\.py) .*", r"\1", i.text)) for i in own(image) if i.name != "ARG"
        ]

    assert without_version(COMPILED) == without_version(CURRENT)


@pytest.mark.parametrize("image", GPU_IMAGES, ids=lambda path: path.stem)
def test_packages_are_added_by_the_script_alone(image: Path) -> None:
    run = [each.text for each in instructions(image) if each.name == "RUN"]
    assert run.count("docker/add_conch.sh constraints.txt") == 1
    assert not any("pip" in text for text in run)
    assert os.access(DOCKER / "add_conch.sh", os.X_OK)


@pytest.mark.parametrize("image", GPU_IMAGES, ids=lambda path: path.stem)
def test_any_user_runs_it_behind_the_entrypoint_of_nvidia(image: Path) -> None:
    assert last(image, "USER") == "1000:1000"
    assert json.loads(last(image, "ENTRYPOINT")) == [NVIDIA_ENTRYPOINT, "conch"]
    environment = dict(word.split("=", 1) for each in instructions(image) if each.name == "ENV" for word in each.words)
    assert environment["HOME"] in json.loads(last(image, "VOLUME"))
    assert "mkdir --mode=1777 /cache" in "".join(each.text for each in instructions(image))


@pytest.mark.parametrize("image", GPU_IMAGES, ids=lambda path: path.stem)
def test_the_version_is_checked_by_the_user_that_serves(image: Path) -> None:
    names = [each.name for each in instructions(image)]
    check = last(image, "RUN")
    assert re.fullmatch(r"python3 docker/check_image\.py \"?1\.\d\.\d(rc\d+)?\"?", check)
    assert names.index("USER") < len(names) - 1 - names[::-1].index("RUN")
    version = check.split()[-1].strip('"')
    assert version == "1.2.1" or base(image).endswith(f":{version}")


def test_the_current_image_has_a_tensorrt_llm_that_conch_runs_on() -> None:
    assert llm_api_of(base(CURRENT).rpartition(":")[2]) == "1.3"


def test_triton_is_copied_with_all_that_it_is_started_from() -> None:
    copies = [each.words for each in instructions(CURRENT) if each.name == "COPY" and each.text.startswith("--from")]
    assert {words[0] for words in copies} == {"--from=triton"}
    copied = {path for words in copies for path in words[1:-1]}
    assert copied == OF_TRITON
    for _, *sources, target in copies:
        assert all(source == target or str(Path(source).parent) == target.rstrip("/") for source in sources)


def test_every_library_that_triton_is_linked_with_comes_with_a_package() -> None:
    """By the Triton that runs here, an older one: a library that it has ceased to need does no harm."""
    (installed,) = [each.text for each in instructions(CURRENT) if "apt-get install" in each.text]
    packages = installed.split()
    for library in sorted(linked_libraries() - OF_THE_BASE):
        assert DEBIAN[library] in packages, library


def linked_libraries() -> set[str]:
    """What the server, its library, its Python backend and a stub name themselves, up to the first `.` or `-`."""
    if shutil.which("readelf") is None:
        pytest.skip("readelf (binutils) is not installed")
    triton = find_tritonserver(os.environ)
    assert triton.backends is not None
    assert triton.stub is not None
    (library,) = (triton.binary.parents[3] / "nvidia_pytriton.libs").glob("libtritonserver-*.so")
    files = [triton.binary, triton.stub, library, triton.backends / "python" / "libtriton_python.so"]
    listing = subprocess.run(["readelf", "--dynamic", *files], capture_output=True, encoding="utf-8", check=True).stdout
    names = re.findall(r"Shared library: \[([\w+]+)", listing)
    return {name for name in names if name not in {"ld", "libtritonserver"}}


@pytest.mark.parametrize("image", GPU_IMAGES, ids=lambda path: path.stem)
def test_the_table_of_images_says_what_is_in_them(image: Path) -> None:
    page = (DOCKER.parent / "docs" / "gpu.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `docker/{image.name}` ")]
    _, _, triton, tensorrt_llm, _, _, _, packages, _ = (cell.strip() for cell in row.split("|"))
    (release,) = set(re.findall(r"tritonserver:(\d\d\.\d\d)", " ".join(froms(image))))
    assert f"({release})" in triton
    assert tensorrt_llm.split(",")[0] == last(image, "RUN").split()[-1].strip('"')
    had = pins(DOCKER / "pins" / f"{image.stem}.txt")
    transformers, numpy = packages.split(", ")
    assert transformers == had["transformers"]
    assert had["numpy"].startswith(f"{numpy}.")


def froms(image: Path) -> list[str]:
    return [each.text for each in instructions(image) if each.name == "FROM"]
