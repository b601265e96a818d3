"""The command that prints which files a streamed chat enters."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_a_streamed_chat_enters_the_gateway_from_its_connection_to_its_channel() -> None:
    argv = [sys.executable, "-m", "tests.journey"]
    printed = subprocess.run(argv, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    entered = {line.strip() for line in printed.splitlines() if line.startswith("  ")}
    assert {"gateway/http/protocol.py", "gateway/answers/answer.py", "gateway/triton/wire.py"} <= entered
