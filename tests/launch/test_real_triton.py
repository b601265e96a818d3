"""The supervisor over a real tritonserver with one real Python model."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from launch.service import Service
from launch.shared_memory import SHM
from launch.supervisor import Supervisor
from tests.launch.conftest import Log, Running, assert_nothing_left, until
from tests.launch.echo_triton import KSERVE_KEY, MODEL, MakeTriton, address, processes
from triton_repo.contract.api_key import KSERVE_KEY_HEADER
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.http_probe import http_status

pytestmark = pytest.mark.asyncio


def ask_for(verb: str, model: str, triton: Service, **parameters: str) -> tuple[int, str]:
    """Status and body of the answer, as the gateway would get it."""
    answer = httpx.post(
        f"{address(triton)}/v2/repository/models/{model}/{verb}",
        content=json.dumps({"parameters": parameters}),
        headers={KSERVE_KEY_HEADER: KSERVE_KEY},
    )
    return answer.status_code, answer.text


async def test_shared_memory_is_private_and_a_stop_leaves_neither_it_nor_a_process(
    running: Running, log: Log, make_triton: MakeTriton
) -> None:
    triton = make_triton()
    async with running(triton):
        assert sorted(processes(triton)) == ["server", "stub"]
        regions = list(SHM.glob(f"{triton.shm_prefix}*"))
        assert regions
        assert {region.stat().st_mode & 0o077 for region in regions} == {0}
    assert log.saying(f"echo runs in {sys.prefix}") == ["triton"]
    assert not log.saying("CUDA")
    assert not log.saying("| Model")


@pytest.mark.parametrize("victim", ["server", "stub"])
async def test_a_killed_server_or_model_process_comes_back_and_leaves_nothing(
    running: Running, log: Log, make_triton: MakeTriton, victim: str
) -> None:
    triton = make_triton()
    async with running(triton):
        await until(lambda: sorted(processes(triton)) == ["server", "stub"])
        before = processes(triton)
        assert await triton.find_faults[0]() is None  # it has seen the stub
        os.kill(before[victim], signal.SIGKILL)
        await until(lambda: log.saying("triton is ready again") == ["conch"])
        assert not set(before.values()) & set(processes(triton).values())
    reason = {"server": "triton was killed by SIGKILL", "stub": "because the process of model echo died"}[victim]
    assert log.saying(reason) == ["conch"]


@pytest.mark.parametrize("model", ["echo", "mine"])
async def test_no_client_can_bring_code_to_triton_or_take_a_model_away(
    running: Running, make_triton: MakeTriton, tmp_path: Path, model: str
) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n{MODEL}"
    config = {
        "name": model,
        "backend": "python",
        "input": [{"name": "x", "data_type": "TYPE_INT32", "dims": [-1]}],
        "output": [{"name": "y", "data_type": "TYPE_INT32", "dims": [-1]}],
        "instance_group": [{"kind": "KIND_CPU"}],
    }
    override = {"config": json.dumps(config), "file:1/model.py": base64.b64encode(code.encode()).decode()}
    triton = make_triton(exposed=True)
    async with running(triton):
        before = processes(triton)
        rejected = (503, '{"error":"explicit model load / unload is not allowed if polling is enabled"}')
        assert ask_for("load", model, triton, **override) == rejected
        assert ask_for("unload", model, triton) == rejected
        assert http_status(triton.parts["echo"]) == 200
        assert processes(triton) == before
    assert not (tmp_path / "ran").exists()


async def test_a_sigterm_to_every_process_leaves_triton_to_its_supervisor(
    running: Running, log: Log, make_triton: MakeTriton
) -> None:
    """As systemd sends it by default: what the gateway still answers needs Triton until then."""
    triton = make_triton()
    async with running(triton):
        await until(lambda: sorted(processes(triton)) == ["server", "stub"])
        before = processes(triton)
        for pid in before.values():
            os.kill(pid, signal.SIGTERM)
        for _ in range(20):
            assert http_status(triton.ready_urls[-1]) == 200
            await asyncio.sleep(0.05)
        assert processes(triton) == before
    assert not log.saying("starting it again")


async def test_a_triton_that_ends_by_itself_is_not_blamed_on_the_models_that_it_takes_down(
    running: Running, log: Log, make_triton: MakeTriton
) -> None:
    triton = make_triton()
    async with running(triton):
        await until(lambda: sorted(processes(triton)) == ["server", "stub"])
        assert await triton.find_faults[0]() is None  # it has seen the stub
        os.kill(processes(triton)["server"], signal.SIGINT)
        await until(lambda: log.saying("triton is ready again") == ["conch"])
    assert log.saying("triton ended with exit status 0") == ["conch"]


async def test_a_model_that_cannot_load_ends_the_start_with_its_reason(log: Log, make_triton: MakeTriton) -> None:
    triton = make_triton("import no_such_module\n")
    with pytest.raises(LaunchError, match=r"^triton has nothing to serve: echo: Internal: .*no_such_module"):
        await Supervisor([triton], log).run(lambda: None)
    assert_nothing_left(triton)


async def test_a_model_that_cannot_load_leaves_the_others_up_and_is_named_with_its_reason(
    running: Running, log: Log, make_triton: MakeTriton
) -> None:
    triton = make_triton(others={"other": "import no_such_module\n"})
    async with running(triton):
        assert http_status(triton.parts["echo"]) == 200
        reason = "other is not served: Internal: ModuleNotFoundError: No module named 'no_such_module'"
        assert log.saying(reason) == ["conch"]


async def test_a_missing_shared_library_of_the_server_is_named(
    log: Log, make_triton: MakeTriton, tmp_path: Path
) -> None:
    binary = tmp_path / "bin/tritonserver"  # away from the libraries that are next to the original
    binary.parent.mkdir()
    triton = make_triton()
    binary.write_bytes(Path(triton.argv[0]).read_bytes())
    binary.chmod(0o700)
    alone = replace(triton, argv=(str(binary), *triton.argv[1:]), environment={})
    with pytest.raises(LaunchError, match=r"^triton ended with exit status 127 .*cannot open shared object file"):
        await Supervisor([alone], log).run(lambda: None)
