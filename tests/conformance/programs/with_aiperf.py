"""AIPerf, NVIDIA's load generator: a short run against each kind of endpoint, in which no request fails.

`CONCH_REFERENCE` names a JSON file with the `checkpoint`, whose tokenizer AIPerf counts with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
from harness import CHAT, EMBED, expect, row

COMMAND = Path(sys.executable).with_name("aiperf")
CHECKPOINT: str = json.loads(Path(os.environ["CONCH_REFERENCE"]).read_text(encoding="utf-8"))["checkpoint"]
NUM_REQUESTS = 12
TIMEOUT_S = 400


def profile(kind: str, *more: str, model: str = CHAT) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        access = ("--url", harness.ROOT, "--model", model, "--endpoint-type", kind, "--tokenizer", CHECKPOINT)
        load = ("--concurrency", "4", "--request-count", str(NUM_REQUESTS), "--random-seed", "1", "--isl", "32")
        output = ("--output-artifact-dir", folder, "--ui-type", "none")
        done = subprocess.run(
            [str(COMMAND), "profile", *access, *load, *output, *more],
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        found = list(Path(folder).rglob("profile_export_aiperf.json"))
        expect(done.returncode == 0 and found, done.stdout[-2000:], done.stderr[-2000:])
        report: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    expect(report["request_count"]["avg"] == NUM_REQUESTS, report)
    expect(not report.get("error_summary") and not report.get("error_request_count"), report.get("error_summary"))
    return report


@row("chat")
def whole() -> None:
    profile("chat", "--osl", "16")


@row("stream")
def streamed() -> None:
    report = profile("chat", "--streaming", "--osl", "16", "--use-server-token-count")
    expect(report["time_to_first_token"]["avg"] > 0, report)


@row("completions")
def completions() -> None:
    profile("completions", "--streaming", "--osl", "16")


@row("embeddings")
def embeddings() -> None:
    profile("embeddings", model=EMBED)


if __name__ == "__main__":
    harness.main("aiperf")
