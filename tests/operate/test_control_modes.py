"""Triton's modes of model control, over a real tritonserver with small Python models."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from launch.descendants import command_line, marked_processes
from launch.health.stubs import stub_model
from launch.service import Service
from tests.launch.conftest import Log, Running, free_port, log, make_triton, running, until
from tests.launch.echo_triton import MODEL, MakeTriton
from triton_repo.contract.health.engine_states import UNLOADED, read_states
from triton_repo.contract.health.model_orders import Order, Outcome
from triton_repo.contract.http_probe import http_status

__all__ = ["free_port", "log", "make_triton", "running"]

pytestmark = [pytest.mark.operate, pytest.mark.asyncio]

BROKEN = "import no_such_module\n"


def stubs(triton: Service) -> dict[str, int]:
    """The process of each model."""
    commands = {pid: command_line(pid) for pid in marked_processes(triton.mark)}
    return {model: pid for pid, command in commands.items() if (model := stub_model(command))}


async def test_with_poll_triton_takes_what_is_changed_in_its_repositories_and_no_orders(
    running: Running, log: Log, make_triton: MakeTriton, tmp_path: Path
) -> None:
    triton = make_triton(control="poll")
    assert triton.carry_out is None
    async with running(triton):
        assert log.saying("echo runs in") == ["triton"]
        changed = MODEL.replace("echo runs in", "the new echo runs in")
        (tmp_path / "echo/echo/1/model.py").write_text(changed, encoding="utf-8")
        await until(lambda: log.saying("the new echo runs in") == ["triton"])
        await until(lambda: http_status(triton.parts["echo"]) == 200)


async def test_an_engine_that_cannot_be_loaded_again_is_given_up_when_the_operator_unloads_it(
    running: Running, log: Log, make_triton: MakeTriton, tmp_path: Path
) -> None:
    triton = make_triton(others={"other": MODEL})
    assert triton.carry_out is not None
    async with running(triton):
        await until(lambda: sorted(stubs(triton)) == ["echo", "other"])
        assert await triton.find_faults[0]() is None  # it has seen both
        (tmp_path / "other/other/1/model.py").write_text(BROKEN, encoding="utf-8")
        other = stubs(triton)["echo"]
        os.kill(stubs(triton)["other"], signal.SIGKILL)
        await until(lambda: len(log.saying("other cannot be loaded: ")) >= 2)
        assert log.saying("No module named 'no_such_module'; its models' output says more")
        await triton.carry_out(Order("unload", "other"))
        assert read_states(tmp_path / "run/engine-states").absent == {"other": UNLOADED}
        await until(lambda: not read_states(tmp_path / "run/engine-states").stalls)
        assert stubs(triton) == {"echo": other}
        (tmp_path / "other/other/1/model.py").write_text(MODEL, encoding="utf-8")
        assert await triton.carry_out(Order("load", "other")) == Outcome()
        assert http_status(triton.parts["other"]) == 200
        assert read_states(tmp_path / "run/engine-states").absent == {}
    assert not log.saying("starting it again")
