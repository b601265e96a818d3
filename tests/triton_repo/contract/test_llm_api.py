"""Which LLM API a version of TensorRT-LLM has, and what an engine can do on each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.triton_repo.engine.runtimes.llm_api import engine_config
from triton_repo.contract.capabilities.runtimes import CAPABILITIES, IN_EARLIER_APIS, capabilities_of
from triton_repo.contract.engine_config import SpeculativeConfig, TensorRtLlmConfig
from triton_repo.contract.errors import UnsupportedParameter
from triton_repo.contract.llm_api import LlmApi, llm_api_of
from triton_repo.engine.features import for_llm_api
from triton_repo.engine.request import parse_request


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ("1.2.1", "1.2"),
        ("1.2.1.post1", "1.2"),
        ("1.2.1+cu130", "1.2"),
        ("1.3.0rc26", "1.3"),
        ("1.3.0rc29.post1", "1.3"),
        ("1.3.0", "1.3"),
        ("1.3.2", "1.3"),
        ("1.4.0rc0", "1.3"),
        ("1.4.1", "1.3"),
        ("1.1.0", None),
        ("1.2.0", None),
        ("1.2.1rc2", None),
        ("1.2.2", None),
        ("1.3.0rc15", None),
        ("1.3.0rc25.post1", None),
        ("1.3.0.dev2026", None),
        ("1.5.0rc0", None),
        ("2.0.0", None),
        ("unknown", None),
    ],
)
def test_a_version_has_one_of_the_two_apis_or_none_that_is_known(version: str, api: LlmApi | None) -> None:
    assert llm_api_of(version) == api


def test_a_spec_is_checked_against_the_latest_api_which_allows_what_the_earlier_one_does() -> None:
    for earlier in IN_EARLIER_APIS:
        latest = capabilities_of(earlier.runtime, earlier.flow)
        assert latest in CAPABILITIES
        assert (earlier.keys, earlier.allowed) == (latest.keys, latest.allowed)
        assert (earlier.speculation, earlier.guides) == (latest.speculation, latest.guides)
        assert capabilities_of(earlier.runtime, earlier.flow, earlier.api) is earlier


def test_what_an_engine_rejects_follows_from_the_api_that_is_installed() -> None:
    rendered = engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch"))
    earlier, latest = for_llm_api(rendered, "1.2"), for_llm_api(rendered, "1.3")
    assert for_llm_api(rendered, None) == rendered
    assert (earlier.card.max_logprobs, latest.card.max_logprobs) == (0, 20)
    asked: dict[str, list[Any]] = {"input_ids": [5], "priority": [0.75]}
    assert parse_request(asked, {"cache_salt": "a"}, latest).sampling.priority == 0.75
    with pytest.raises(UnsupportedParameter, match="priority: the tensorrt_llm runtime cannot do this"):
        parse_request(asked, {}, earlier)
    assert parse_request(asked | {"priority": [0.5]}, {"cache_salt": "a"}, earlier).sampling.cache_salt == "a"


def test_requests_to_an_engine_with_a_draft_leave_alone_what_its_sampler_does_not_know() -> None:
    speculative = SpeculativeConfig(mode="draft", num_assistant_tokens=3)
    rendered = engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch"), speculative=speculative)
    config = for_llm_api(rendered, "1.3")
    for name, value in (("repetition_penalty", 1.5), ("presence_penalty", 0.5)):
        with pytest.raises(UnsupportedParameter, match=f"{name}: "):
            parse_request({"input_ids": [5], name: [value]}, {}, config)
    for name, value in (("min_p", 0.5), ("logprobs", 0)):
        with pytest.raises(UnsupportedParameter, match=f"{name}: "):
            parse_request({"input_ids": [5]}, {name: value}, config)
