"""Requests made from the API's own description, right and wrong ones: `python -m tests.conformance.openapi`.

No answer may be a server's error, have a status or a content type that the description lacks, or a body that is not as
described. Schemathesis makes the requests. It wants another version of `jsonschema-rs` than the gateway, so it has an
environment of its own inside this one, which is made when it is first needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import GUIDE_FIELDS

VERSION: Final = "schemathesis==4.32.5"
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


_CARD: Final = replace(CARD, unsupported=GUIDE_FIELDS)  # what it says follows no guide


class AnyModel(ScriptedBackend):
    """Requests of a random model get as far as those of a known one."""

    async def card(self, model: str) -> ModelCard:  # noqa: ARG002
        return _CARD


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.openapi", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="for each operation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    return fuzz(options.examples, options.seed)


def schemathesis() -> Path:
    """Its command."""
    command = Path(sys.prefix) / "schemathesis" / "bin" / "st"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", command.parents[1]], check=True)
        subprocess.run([command.with_name("pip"), "install", "--quiet", VERSION], check=True)
    return command


def fuzz(examples: int, seed: int) -> int:
    """The exit status of Schemathesis, which prints what it finds and how to ask for it again."""
    with serving(AnyModel(), access_log=False) as gateway:
        command = [
            str(schemathesis()),
            "run",
            f"{gateway.url}/openapi.json",
            "--checks",
            ",".join(CHECKS),
            "--mode",
            "all",
        ]
        command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color"]
        command += ["--suppress-health-check", "filter_too_much"]
        command += ["--exclude-path", "/admin/status"]  # which needs the operator's key
        command += ["--max-examples", str(examples), "--seed", str(seed)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
