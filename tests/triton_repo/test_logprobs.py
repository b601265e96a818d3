"""Logprobs of tokens: from the runtime to the list that a client gets."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings

from tests.budget import examples
from tests.triton_repo.detokenize.test_detokenizer import DETOKENIZERS, TOKENIZERS, cuts, texts
from tests.triton_repo.engine.loop.running_loop import TEXT, engine_loop, eventually
from tests.triton_repo.engines_under_test import RecordingSink, engine_config
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.logprobs import LOWEST, TokenLogprob, from_json, to_json
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import MAX_CONTEXT_IDS
from triton_repo.detokenize.detokenizer import EncodedDelta
from triton_repo.detokenize.token_texts import list_deltas, list_tokens
from triton_repo.engine.loop.stream import Stream
from triton_repo.engine.request import EngineRequest, parse_request
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import Generation

END = 2
Entry = dict[str, object]


def request(**fields: object) -> EngineRequest:
    given = {"input_ids": (1,), "max_tokens": 9, "end_ids": (END,), "sampling": Sampling(logprobs=0), "stream": True}
    return EngineRequest(**(given | fields))  # type: ignore[arg-type]


def listing(name: str, ids: list[int], window_length: int, final: bool, logprobs: list[TokenLogprob]) -> list[Entry]:
    delta = EncodedDelta(DETOKENIZERS[name], ids, window_length, final)
    return [json.loads(token) for token in list_tokens(delta, logprobs)]


def streamed(name: str, ids: list[int], cuts: list[int]) -> list[Entry]:
    """The tokens of `ids` as they are listed when the engine sends them in some chunking."""
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    listed: list[Entry] = []
    for index, (start, end) in enumerate(pairwise(bounds)):
        window = ids[max(0, start - MAX_CONTEXT_IDS) : start]
        logprobs = [TokenLogprob(-float(id)) for id in ids[start:end]]
        final = index == len(bounds) - 2
        listed += listing(name, [*window, *ids[start:end]], len(window), final, logprobs)
    return listed


@given(text=texts, cuts=cuts)
@settings(max_examples=examples(2_000))
def test_the_bytes_of_all_tokens_are_those_of_the_text_in_any_chunking(text: str, cuts: list[int]) -> None:
    for name in ("byte-level", "demo"):
        ids = TOKENIZERS[name].encode(text, add_special_tokens=False).ids
        listed = streamed(name, ids, cuts)
        assert b"".join(bytes(token["bytes"]) for token in listed) == text.encode(), name  # type: ignore[call-overload]
        assert listed == streamed(name, ids, []), name
        assert [token["logprob"] for token in listed] == [-float(id) for id in ids], name


@given(text=texts, cuts=cuts)
@settings(max_examples=examples(2_000))
def test_every_character_of_the_text_is_counted_for_one_token(text: str, cuts: list[int]) -> None:
    for name, tokenizer in TOKENIZERS.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        lengths = [token["text_length"] for token in streamed(name, ids, cuts)]
        assert sum(lengths) == len(tokenizer.decode(ids)), name  # type: ignore[arg-type]


def test_a_part_of_a_character_has_exact_bytes_and_no_text_of_its_own() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "é".encode()]
    first, second = listing("sentencepiece", ids, 0, True, [TokenLogprob(-1.0), TokenLogprob(-2.0)])
    assert (first["token"], first["bytes"], first["text_length"]) == ("\ufffd", [0xC3], 0)
    assert (second["token"], second["bytes"], second["text_length"]) == ("\ufffd", [0xA9], 1)


@pytest.mark.parametrize(
    ("name", "token", "text"),
    [
        ("byte-level", "<|im_end|>", "<|im_end|>"),
        ("byte-level", "Ġ", " "),
        ("sentencepiece", "</s>", "</s>"),
        ("sentencepiece", "▁he", " he"),
        ("sentencepiece", "he", "he"),
    ],
)
def test_an_alternative_is_spelled_as_it_would_go_on(name: str, token: str, text: str) -> None:
    id = TOKENIZERS[name].token_to_id(token)
    [listed] = listing(name, [id], 0, False, [TokenLogprob(-3.0, [(id, -0.5)])])
    assert listed["top_logprobs"] == [{"token": text, "logprob": -0.5, "bytes": [*text.encode()]}]


def test_a_message_lists_the_tokens_of_each_delta_that_has_logprobs() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    first, second = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("ab", "cd"))
    encoded = [b"", to_json([TokenLogprob(-1.0)] * len(second))]
    deltas = [
        EncodedDelta(DETOKENIZERS["byte-level"], first, 0, False),
        EncodedDelta(DETOKENIZERS["byte-level"], second, 0, True),
    ]
    listed = list_deltas(deltas, encoded)
    assert listed[0] == ""
    assert "".join(token["token"] for token in json.loads(listed[1])) == "cd"


def test_between_the_steps_logprobs_are_finite_and_not_positive() -> None:
    logprobs = [TokenLogprob(1e-7, ((5, -math.inf),)), TokenLogprob(-0.5)]
    assert from_json(to_json(logprobs)) == [TokenLogprob(0.0, [[5, LOWEST]]), TokenLogprob(-0.5, [])]  # type: ignore[list-item]
    assert to_json([]) == b""
    assert from_json(b"") == []


def test_a_delta_has_the_logprobs_of_its_new_ids_and_an_end_id_has_none() -> None:
    stream = Stream("a", request())
    of = {id: TokenLogprob(-float(id)) for id in (5, 6, 7, END)}
    taken = []
    for ids in ((5,), (6, 7), (END,)):
        stream.accept(ids, "")
        stream.accept_logprobs([of[id] for id in ids])
        taken.append(stream.take())
    assert [emission.logprobs for emission in taken] == [[of[5]], [of[6], of[7]], []]
    assert [emission.window_length for emission in taken] == [0, 1, 3]


def test_only_a_request_that_asks_gets_logprobs_from_the_engine_and_each_delta_has_its_own() -> None:
    asking, silent = RecordingSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT)), flush_s=30.0) as loop:
        loop.submit("a", request(max_tokens=20), asking)
        loop.submit("b", request(max_tokens=20, sampling=Sampling()), silent)
        eventually(lambda: asking.ends == silent.ends == 1)
    assert [len(emission.logprobs) for emission in asking.emissions] == [1, 19]
    assert not any(emission.logprobs for emission in silent.emissions)


def test_the_replay_makes_up_the_same_logprobs_again_and_again() -> None:
    def play(sampling: Sampling) -> list[TokenLogprob]:
        runtime = ReplayRuntime(ReplayConfig(token_ids=(5, 6, 7)))
        runtime.submit(Generation(1, [1], 9, (END,), sampling))
        return [of for _ in range(3) for delta in runtime.step() for of in delta.logprobs]

    assert play(Sampling()) == []
    assert [of.top for of in play(Sampling(logprobs=0))] == [[], [], []]
    logprobs = play(Sampling(logprobs=2))
    assert logprobs == play(Sampling(logprobs=2))
    assert [len(of.top) for of in logprobs] == [2, 2, 2]
    assert (5, logprobs[0].logprob) in logprobs[0].top
    assert 7 not in dict(logprobs[2].top), "a token need not be among the likeliest"


@pytest.mark.parametrize(("value", "known"), [(0, 0), (3, 3), (20, 20)])
def test_as_many_alternatives_as_an_engine_knows_are_given(value: int, known: int) -> None:
    config = engine_config(card=ModelCard(64, "x", 0, True, "tests", max_logprobs=known))
    assert parse_request({"input_ids": [5]}, {"logprobs": value}, config).sampling.logprobs == value


def test_more_alternatives_are_rejected_by_name() -> None:
    config = engine_config(card=ModelCard(64, "openvino", 0, True, "tests", max_logprobs=0))
    with pytest.raises(UnsupportedParameter, match=r"logprobs: 1 alternatives .* the openvino runtime") as rejected:
        parse_request({"input_ids": [5]}, {"logprobs": 1}, config)
    assert rejected.value.param == "logprobs"
    with pytest.raises(InvalidRequest, match="logprobs = 21"):
        parse_request({"input_ids": [5]}, {"logprobs": 21}, config)


def test_a_prompt_that_is_echoed_comes_first_with_its_logprobs() -> None:
    scores = [TokenLogprob(None), TokenLogprob(-2.0, [(7, -0.5)])]
    stream = Stream("r", request(echo="all", input_ids=[8, 9], sampling=Sampling(logprobs=1)))
    stream.accept([5], "")
    stream.prompt_logprobs = scores
    stream.accept_logprobs([TokenLogprob(-1.0)])
    first = stream.take()
    assert (first.output_ids, first.window_length, first.generated) == ([8, 9, 5], 0, 1)
    assert first.logprobs == [*scores, TokenLogprob(-1.0)]
    assert [each.logprob for each in from_json(first.token_data())] == [None, -2.0, -1.0]
    stream.accept([6], "length")
    assert stream.take().output_ids == [5, 6], "the prompt is there once"


def test_an_echo_of_the_prompt_alone_counts_no_token() -> None:
    stream = Stream("r", request(echo="prompt", input_ids=[8, 9]))
    stream.accept([5], "")
    emission = stream.take()
    assert (emission.output_ids, emission.generated, emission.finish_reason) == ([8, 9], 0, "length")


def test_an_end_token_is_listed_behind_a_prompt_with_logprobs() -> None:
    """Clients that score texts leave out the last token, whatever it is."""
    stream = Stream("r", request(echo="all", input_ids=[8], end_ids=(2,), sampling=Sampling(logprobs=0)))
    stream.accept([2], "stop")
    assert stream.take().output_ids == [8, 2]
