"""Requests made from the API's own description, right and wrong ones: `python -m tests.soak.schema`.

Needs schemathesis in an environment of its own: `python3 -m venv DIR && DIR/bin/pip install schemathesis==4.32.5`,
then `--schemathesis DIR/bin/st`. No answer may be a server's error, have a status that the description lacks, or a
body that is not as described.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.model_card import ModelCard

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


class AnyModel(ScriptedBackend):
    """Requests of a random model get as far as those of a known one."""

    async def card(self, model: str) -> ModelCard:  # noqa: ARG002
        return CARD


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.schema", description=__doc__)
    parser.add_argument("--schemathesis", default="st", metavar="FILE", help="its command (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=1000, help="for each operation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    with serving(AnyModel(), access_log=False) as gateway:
        command = [
            options.schemathesis,
            "run",
            f"{gateway.url}/openapi.json",
            "--checks",
            ",".join(CHECKS),
            "--mode",
            "all",
        ]
        command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color"]
        command += ["--max-examples", str(options.examples), "--seed", str(options.seed)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
