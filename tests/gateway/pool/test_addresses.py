"""Where the servers of a pool are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.pool.addresses import Addresses
from gateway.settings import load_settings
from triton_repo.contract.errors import LaunchError


@pytest.mark.asyncio
async def test_a_name_stands_for_every_address_that_it_has() -> None:
    assert await Addresses(["unix:/run/triton.sock", "dns:127.0.0.1:8001", "host:8001"], None).current() == {
        "unix:/run/triton.sock",
        "127.0.0.1:8001",
        "host:8001",
    }
    assert await Addresses(["dns:localhost:8001"], None).current() <= {"127.0.0.1:8001", "[::1]:8001"}


@pytest.mark.asyncio
async def test_a_name_that_cannot_be_resolved_has_no_servers(caplog: pytest.LogCaptureFixture) -> None:
    assert await Addresses(["dns:nowhere.invalid:8001", "127.0.0.1:9"], None).current() == {"127.0.0.1:9"}
    assert "dns:nowhere.invalid:8001" in caplog.text


@pytest.mark.asyncio
async def test_the_file_is_read_again_and_stays_valid_as_it_was_when_it_is_not(tmp_path: Path) -> None:
    file = tmp_path / "servers"
    file.write_text("# two nodes\nnode1:8001\n\n  node2:8001\n", encoding="utf-8")
    addresses = Addresses((), file)
    assert await addresses.current() == {"node1:8001", "node2:8001"}
    file.write_text("node1:8001\nnode3\n", encoding="utf-8")
    assert await addresses.current() == {"node1:8001", "node2:8001"}
    file.write_text("node3:8001\n", encoding="utf-8")
    assert await addresses.current() == {"node3:8001"}


@pytest.mark.parametrize("address", ["node", "node:", ":8001", "http://node:8001", "node:8001 node2:8001", "unix:", ""])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(LaunchError, match=r"gateway setting triton_grpc\.0 = .* must be HOST:PORT, unix:PATH or dns:"):
        load_settings({"triton_grpc": (address,)}, {})


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "servers"
    file.write_text("node1:8001\nnode2 8001\n", encoding="utf-8")
    with pytest.raises(LaunchError, match=r"servers, line 2: 'node2 8001' must be HOST:PORT"):
        load_settings({"triton_servers_file": file}, {})
