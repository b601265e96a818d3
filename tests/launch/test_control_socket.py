from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from launch.serving.control_socket import taking_orders
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.model_orders import Order, Outcome


async def carry_out(_: Order) -> Outcome:
    return Outcome()


def test_a_directory_whose_path_is_too_long_for_a_socket_is_rejected(tmp_path: Path) -> None:
    """With --expose-kserve Triton itself has ports, and this is the only socket."""

    async def take(socket: Path) -> None:
        async with taking_orders(socket, carry_out):
            assert socket.is_socket()

    with pytest.raises(LaunchError, match=r"too long for sockets; set XDG_RUNTIME_DIR to a shorter one$"):
        asyncio.run(take(tmp_path / ("d" * 108)))
    longest = tmp_path / ("d" * (107 - len(f"{tmp_path}/")))
    asyncio.run(take(longest))
