"""Each example for clients runs as a program against the real server, and prints an answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import KSERVE_KEY, ROOT, Stack

FOLDER = ROOT / "examples" / "clients"
WAIT_S = 240
ELSEWHERE = {"langchain_chat.py"}  # tests/conformance runs it, where its packages are
CONCH = "Conch turns a HuggingFace or NeMo checkpoint into an engine"
PRINTED = {
    "chat.sh": rf'"content":"{CONCH}.*\n(.*\n)*data: \[DONE\]',
    "openai_async.py": rf"{CONCH}(.*\n)*.*NVIDIA's open-source server(.*\n)*.*checks the machine",
    "openai_chat.py": rf"{CONCH}.*\nCompletionUsage\(completion_tokens=\d\d",
    "openai_json.py": r"name='.*' age=\d+",
    "openai_stream.py": rf"{CONCH}.*\nCompletionUsage\(completion_tokens=\d\d",
    "openai_tools.py": r'Weather \{ ?"city": ?"(Bonn|Paris)"\}\n.+',
    "triton_asyncio.py": rf"{CONCH}.*\n---\nTriton",
    "triton_generate.sh": r'"text_output":".+"(.*\n)*data: \{.*"text_output":".+"',
    "triton_grpc.py": rf"{CONCH}.*\nended by: stop",
    "triton_http.py": r"ready: True\ninputs: text_input .*\ntokens: \[\d+, .*\]",
    "triton_stream.py": CONCH,
}


def run(program: Path, stack: Stack) -> str:
    variables = {
        "CONCH_URL": stack.gateway,
        "CONCH_API_KEY": "none",
        "CONCH_TRITON_HTTP": stack.triton_http,
        "CONCH_TRITON_GRPC": stack.triton_grpc,
        "CONCH_KSERVE_KEY": KSERVE_KEY,
        "CONCH_MODEL": "demo",
    }
    interpreter = [sys.executable] if program.suffix == ".py" else ["sh"]
    done = subprocess.run(
        [*interpreter, program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_an_answer(name: str, stack: Stack) -> None:
    if name.endswith(".sh") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    printed = run(FOLDER / name, stack)
    assert re.search(PRINTED[name], printed), printed


def test_every_example_is_run_and_in_the_index() -> None:
    there = {file.name for file in FOLDER.iterdir() if file.suffix in {".py", ".sh"}}
    index = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert there == PRINTED.keys() | ELSEWHERE == set(re.findall(r"\]\(clients/(\w+\.\w+)\)", index))
