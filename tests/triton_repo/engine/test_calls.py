"""What a Triton request to the engine asks for."""

from __future__ import annotations

from typing import Any

import pytest

from triton_repo.contract.errors import InvalidRequest
from triton_repo.engine.calls import Generate, Renew, Stop, Subscribe, is_direct, parse_call


@pytest.mark.parametrize(
    ("id", "tensors", "parameters", "call"),
    [
        ("a", {"input_ids": [[5]]}, {"channel": "c"}, Generate([{"input_ids": [5]}])),
        ("", {"input_ids": [[5], [6]]}, {}, Generate([{"input_ids": [5]}, {"input_ids": [6]}])),
        ("a", {"stop": [[True]]}, {}, Stop("a")),
        ("a", {"stop": [[False]], "input_ids": [[5]]}, {}, Generate([{"stop": [False], "input_ids": [5]}])),
        ("channel-1", {}, {"subscribe": True}, Subscribe("channel-1")),
        ("", {}, {"renew": "channel-1"}, Renew("channel-1")),
        ("renew:channel-1", {}, {"renew": "channel-1"}, Renew("channel-1")),
    ],
)
def test_a_request_asks_for_one_thing(id: str, tensors: dict[str, Any], parameters: dict[str, Any], call: Any) -> None:
    assert parse_call(id, tensors, parameters) == call


@pytest.mark.parametrize(("tensors", "parameters"), [({"stop": [[True]]}, {}), ({}, {"subscribe": True})])
def test_a_stop_and_a_subscription_need_an_id_to_name_what_they_are_about(tensors: Any, parameters: Any) -> None:
    with pytest.raises(InvalidRequest, match="needs a request id"):
        parse_call("", tensors, parameters)


def test_only_what_has_not_passed_preprocess_is_a_direct_call() -> None:
    assert is_direct({"input_ids": [[5]]})
    assert not is_direct({"input_ids": [[5]], "stop_sequences": [[b"[]"]]})
