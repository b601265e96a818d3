"""Clients and frameworks that others wrote do with Conch what they do with OpenAI and Anthropic."""

from __future__ import annotations

import pytest

from tests.conformance import results
from tests.conformance.clients import CLIENTS, Client
from tests.conformance.environments import environment_of

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_row_of_a_client_holds(
    client: Client, variables: dict[str, str], recorded: dict[str, results.Result]
) -> None:
    done = environment_of(client).run(client, variables)
    assert done.returncode == 0, done.stderr
    recorded[client.name] = results.parse(done.stdout)
    assert not recorded[client.name].failed, done.stderr
