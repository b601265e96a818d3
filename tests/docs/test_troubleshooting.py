"""What the pages on limits and on troubleshooting quote of Triton is what it says, and their commands exist."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, _client
from tritonclient.utils import InferenceServerException

from launch.shared_memory import MIB, SHM_PER_STEP
from tests.conftest import Stack
from tests.docs import commands
from tests.docs.pages import ROOT, table_rows
from tests.serving.triton_client import row, rows, triton_stream
from triton_repo.contract.tensors import MAX_ROWS

PAGE = ROOT / "docs" / "troubleshooting.md"
LIMITS = ROOT / "docs" / "limits.md"
# Programs of others that a reader runs: not all of them are here.
OTHERS = {"curl", "df", "dmesg", "docker", "hf", "ls", "lscpu", "nvidia-smi", "pip", "sh"}
TEXT = row("text_input", "BYTES", [b"x"])


def table_codes(heading: str, column: int) -> list[str]:
    return [code for cells in table_rows(PAGE, heading) for code in cells[column]]


def command_lines() -> list[str]:
    headings = ("symptom", "message of Triton", "message")
    return [code for heading in headings for code in table_codes(heading, 2)]


def is_command(line: str) -> bool:
    return bool(re.match(r"([A-Z_]+=\S+ )*(conch|make|python\S*|[a-z-]+) \S|nvidia-smi$", line))


def test_every_row_has_a_command_or_the_page_that_has_it() -> None:
    for heading in ("symptom", "message of Triton", "message"):
        for cells in table_rows(PAGE, heading):
            assert [code for code in cells[2] if is_command(code)], cells


@pytest.mark.parametrize("line", sorted({line for line in command_lines() if is_command(line)}))
def test_a_command_of_the_page_exists(line: str) -> None:
    words = re.sub(r"^([A-Z_]+=\S+ )*", "", line).split(" | ")[0].split()
    if words[0] == "conch":
        assert verb_of(words[1:]), line
    elif words[0] == "make":
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0].startswith("python"):
        target = words[2].replace(".", "/") if words[1] == "-m" else words[1]
        assert target == "venv" or (ROOT / target).exists(), line
    else:
        assert words[0] in OTHERS, line
        assert words[0] != "sh" or (ROOT / words[1]).is_file(), line


def verb_of(words: list[str]) -> bool:
    """Whether there is such a verb, of one word or two, and it has the flags."""
    verbs = commands.verbs()
    found = verbs.get(" ".join(words[:2])) or verbs.get(words[0])
    known = {name for option in found.params for name in (*option.opts, *option.secondary_opts)} if found else set()
    return found is not None and {word for word in words if word.startswith("--")} <= known


def quoted(message: str) -> str:
    """The message of the page that Triton's contains."""
    [found] = [code for code in table_codes("message of Triton", 0) if code in message]
    return found


def test_what_triton_says_to_its_clients_over_http_is_on_the_page(stack: Stack) -> None:
    url = f"{stack.triton_http}/v2"
    body = {"text_input": "x", "max_tokens": 5, "stream": True}
    said = [
        httpx.post(f"{url}/models/demo/infer", json={"inputs": []}),
        httpx.post(f"{url}/models/replay/generate", json=body),
        httpx.post(f"{url}/models/ensemble/generate", json=body),
        httpx.post(f"{url}/repository/index"),
        httpx.post(f"{url}/models/demo/generate", json={"max_tokens": 5}),
    ]
    assert len({quoted(answer.json()["error"]) for answer in said}) == 5


def test_what_triton_says_to_its_clients_over_grpc_is_on_the_page(stack: Stack) -> None:
    wrong: list[tuple[list[InferInput], list[str]]] = [
        ([TEXT, number(np.uint32, [[5]])], []),
        ([TEXT, number(np.int32, [5])], []),
        ([TEXT, number(np.int32, [[5]])], ["batch_index"]),
        ([rows("text_input", "BYTES", [[b"x"]] * (MAX_ROWS + 1))], []),
    ]
    said = [refusal(stack, *one) for one in wrong]
    with InferenceServerClient(stack.triton_grpc) as client, pytest.raises(InferenceServerException) as caught:
        client.infer("demo", [TEXT])
    assert len({quoted(message) for message in (*said, str(caught.value))}) == 5


def number(dtype: Any, values: Any) -> InferInput:
    array = np.array(values, dtype)
    tensor = InferInput("max_tokens", list(array.shape), array.dtype.name.upper())
    tensor.set_data_from_numpy(array)
    return tensor


def refusal(stack: Stack, inputs: list[InferInput], outputs: list[str]) -> str:
    with triton_stream(stack.triton_grpc) as stream:
        stream.send("demo", inputs, outputs=outputs)
        return str(stream.next())


def test_the_numbers_of_the_page_on_limits_are_those_of_the_code() -> None:
    page = LIMITS.read_text(encoding="utf-8")
    assert _client.MAX_GRPC_MESSAGE_SIZE == 2**31 - 1
    assert f"{MAX_ROWS} for an ensemble" in page
    assert f"wants {SHM_PER_STEP // MIB} MiB free for each" in page
