"""Token lengths: how many characters of the text each token adds, for clients that cut an answer at a character."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings

from tests.budget import examples
from tests.triton_repo.detokenize.test_detokenizer import DETOKENIZERS, TOKENIZERS, cuts, texts
from tests.triton_repo.engine.loop.running_loop import TEXT, engine_loop, eventually
from tests.triton_repo.engines_under_test import RecordingSink, engine_config
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.logprobs import LENGTHS_ONLY, TokenLogprob, to_json
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import MAX_CONTEXT_IDS
from triton_repo.detokenize.detokenizer import EncodedDelta
from triton_repo.detokenize.token_texts import list_deltas
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.request import EngineRequest, parse_request
from triton_repo.engine.runtimes.replay import ReplayRuntime


def streamed_lengths(name: str, ids: list[int], cuts: list[int], encoded: bytes) -> list[int]:
    """The lengths of all tokens of `ids` as they are listed when the engine sends them in some chunking."""
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    listed: list[int] = []
    for index, (start, end) in enumerate(pairwise(bounds)):
        window = ids[max(0, start - MAX_CONTEXT_IDS) : start]
        delta = EncodedDelta(DETOKENIZERS[name], [*window, *ids[start:end]], len(window), index == len(bounds) - 2)
        [text] = list_deltas([delta], [encoded])
        listed += [token["text_length"] for token in json.loads(text or "[]")]
    return listed


@given(text=texts, cuts=cuts)
@settings(max_examples=examples(1_000), deadline=None, suppress_health_check=list(HealthCheck))
def test_lengths_without_logprobs_are_those_with_logprobs_in_any_chunking(text: str, cuts: list[int]) -> None:
    for name, tokenizer in TOKENIZERS.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        lengths = streamed_lengths(name, ids, cuts, LENGTHS_ONLY)
        assert lengths == streamed_lengths(name, ids, [], to_json([TokenLogprob(-1.0)] * len(ids))), name
        assert len(lengths) == len(ids)
        assert sum(lengths) == len(tokenizer.decode(ids)), name


def test_a_token_has_its_length_and_nothing_else() -> None:
    ids = TOKENIZERS["byte-level"].encode("ab", add_special_tokens=False).ids
    [listed] = list_deltas([EncodedDelta(DETOKENIZERS["byte-level"], ids, 0, True)], [LENGTHS_ONLY])
    assert json.loads(listed) == [{"text_length": 1}, {"text_length": 1}]


@pytest.mark.parametrize(("parameters", "expected"), [({}, False), ({"token_lengths": True}, True)])
def test_a_request_asks_by_a_parameter(parameters: dict[str, object], expected: bool) -> None:
    assert parse_request({"input_ids": [5]}, parameters, engine_config()).token_lengths is expected


def test_a_value_that_is_not_a_boolean_is_rejected_by_name() -> None:
    with pytest.raises(InvalidRequest, match="token_lengths = 'yes': true or false is required") as rejected:
        parse_request({"input_ids": [5]}, {"token_lengths": "yes"}, engine_config())
    assert rejected.value.param == "token_lengths"


def emissions(sampling: Sampling, *, token_lengths: bool) -> list[Emission]:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT)), flush_s=30.0) as loop:
        loop.submit("a", EngineRequest([1], 20, (TEXT[-1],), sampling, stream=True, token_lengths=token_lengths), sink)
        eventually(lambda: sink.ends == 1)
    return sink.emissions


def test_each_delta_says_that_lengths_are_wanted_unless_logprobs_bring_them() -> None:
    assert {emission.token_data() for emission in emissions(Sampling(), token_lengths=False)} == {b""}
    assert {emission.token_data() for emission in emissions(Sampling(), token_lengths=True)} == {LENGTHS_ONLY}
    with_logprobs = [emission.token_data() for emission in emissions(Sampling(logprobs=0), token_lengths=True)]
    assert LENGTHS_ONLY not in with_logprobs
    assert b"" not in with_logprobs


def test_a_delta_without_new_tokens_has_no_lengths() -> None:
    assert Emission("a", (5, 6), 2, "stop", 1, -1, 3, token_lengths=True).token_data() == b""
