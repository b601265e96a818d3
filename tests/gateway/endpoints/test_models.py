"""Models in the form of either API, what runs here, and NIM's names of the same paths."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import pytest

from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.distribution import conch_version

NAMES = ["a", "b", "c"]
KEY = "a-key-of-our-own"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(ScriptedBackend(cards=dict.fromkeys(NAMES, CARD)), api_key=KEY) as gateway:
        yield gateway.url


def test_anthropics_client_lists_models_page_by_page(url: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        assert [model.id for model in client.models.list(limit=2)] == NAMES
        page = client.models.list(limit=1, after_id="a")
        assert ([model.id for model in page.data], page.has_more, page.first_id, page.last_id) == (
            ["b"],
            True,
            "b",
            "b",
        )
        assert [model.id for model in client.models.list(before_id="c", limit=1).data] == ["b"]
        model = client.models.retrieve("b")
        assert (model.type, model.max_input_tokens, model.created_at.timestamp()) == ("model", 512, CARD.created)
        for wrong in ({"limit": 0}, {"after_id": "x"}):
            with pytest.raises(anthropic.BadRequestError):
                client.models.list(**wrong)
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.models.retrieve("x")
        assert caught.value.type == "not_found_error"


def test_the_version_is_told_under_every_name(url: str) -> None:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:
        assert client.get("/version").json() == {"version": conch_version()}
        assert client.get("/v1/version").json() == {"release": conch_version(), "api": "1"}
        metadata = client.get("/v1/metadata").json()
        assert [one["shortName"] for one in metadata["modelInfo"]] == NAMES


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_nims_names_answer_alike_and_need_no_key(url: str, path: str) -> None:
    ours, nims = httpx.get(url + path), httpx.get(f"{url}/v1{path}")
    assert (ours.status_code, nims.status_code) == (200, 200)
    assert ours.headers["content-type"] == nims.headers["content-type"]
    assert ours.text[:20] == nims.text[:20]
