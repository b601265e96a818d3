"""`make test-pins`: the gateway's and the models' tests on the Python packages of each GPU image.

An environment for each file of docker/pins/ gets its packages, then Conch as the image gets it (docker/add_conch.sh),
then what tests need. Only Python's own library is needed here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
SETS = sorted((ROOT / "docker" / "pins").glob("*.txt"))
ENVIRONMENTS = ROOT / ".venv" / "pins"

TOOLS = ("httpx", "hypothesis", "openai", "psutil", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist")
TESTS = ("tests/gateway", "tests/triton_repo")
_RUNTIMES = "tests/triton_repo/engine/runtimes"
# OpenVINO is in no GPU image.
OF_OPENVINO = ("test_admission.py", "test_calibration.py", "test_openvino_*.py")
# The stubs of nvidia-pytriton 0.7 crash on strings under numpy 2 (pybind11 2.10); those of current Tritons do not.
TRITON = "nvidia-pytriton"
_SUPERVISOR = "tests/gateway/processes/test_supervisor.py"
OF_TRITON = (
    f"{_SUPERVISOR}::test_whichever_worker_is_asked_the_metrics_are_those_of_all",
    f"{_SUPERVISOR}::test_a_killed_worker_takes_only_its_own_streams_with_it_and_is_started_again",
    f"{_SUPERVISOR}::test_an_answer_under_way_is_finished_before_the_gateway_ends",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many tests did what, in how many seconds."""

    passed: int
    failed: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped ({self.seconds:.0f} s)"


def pins(file: Path) -> dict[str, str]:
    """Names and versions of a file of constraints."""
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return {
        name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in lines if line)
    }


def pinned(names: Sequence[str]) -> list[str]:
    """Requirements of the versions that the whole suite runs on."""
    known = pins(ROOT / "constraints.txt")
    return [f"{name}=={known[name]}" for name in names]


def run(set_file: Path) -> Outcome:
    directory = ENVIRONMENTS / set_file.stem
    venv.create(directory, clear=True, with_pip=True)
    constraints = directory / "constraints.txt"
    environment = {**os.environ, "PATH": f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def call(*argv: str, quiet: bool = False) -> None:
        """Where a `quiet` command fails: SystemExit with what it said."""
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=quiet, encoding="utf-8", check=False)
        if quiet and done.returncode:
            raise SystemExit(f"{done.stdout}{done.stderr}\n{set_file.stem}: {' '.join(argv)} failed")

    def install(*words: str) -> None:
        call("python3", "-m", "pip", "install", "--disable-pip-version-check", *words, quiet=True)

    install("--requirement", str(set_file))
    call("docker/add_conch.sh", str(constraints), quiet=True)
    install("--constraint", str(constraints), *pinned(TOOLS))
    triton = pins(set_file)["numpy"].startswith("1.")
    if triton:
        install("--no-deps", *pinned([TRITON]))
    report = directory / "report.xml"
    began = time.monotonic()
    call(
        "python3",
        "-m",
        "pytest",
        "-q",
        "--numprocesses=2",
        "--dist=loadfile",
        f"--junitxml={report}",
        *selection(triton),
    )
    return outcome(report, time.monotonic() - began)


def selection(triton: bool) -> list[str]:
    ignored = [f"--ignore-glob={ROOT / _RUNTIMES / name}" for name in OF_OPENVINO]
    return [*TESTS, *ignored, *(() if triton else (f"--deselect={test}" for test in OF_TRITON))]


def outcome(report: Path, seconds: float) -> Outcome:
    if not report.is_file():
        raise SystemExit(f"pytest wrote no {report}")
    suite = ET.parse(report).getroot()[0]  # noqa: S314 - pytest has just written it
    tests, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    return Outcome(tests - failures - errors - skipped, failures + errors, skipped, seconds)


def main() -> int:
    outcomes = {file.stem: run(file) for file in SETS}
    for name, result in outcomes.items():
        sys.stdout.write(f"{name}: {result}\n")
    return int(any(result.failed or not result.passed for result in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
