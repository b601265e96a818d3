"""Ids of tokens: from the runtime to the list that a client gets, that of the end and those of the prompt too."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import HealthCheck, given, settings

from tests.triton_repo.detokenize.test_detokenizer import DETOKENIZERS, TOKENIZERS, cuts, texts
from tests.triton_repo.test_logprobs import END, request
from triton_repo.contract.logprobs import TokenLogprob, to_json
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import MAX_CONTEXT_IDS, DeltaFlags
from triton_repo.detokenize.detokenizer import Detokenizers, EncodedDelta, split_deltas
from triton_repo.detokenize.token_texts import list_deltas
from triton_repo.engine.loop.stream import Stream, listed

LISTS = DeltaFlags.LISTS_IDS
DETOKENIZER = DETOKENIZERS["byte-level"]


@given(text=texts, cuts=cuts)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_ids_are_those_of_the_engine_and_the_last_one_may_leave_no_text(text: str, cuts: list[int]) -> None:
    for name, tokenizer in TOKENIZERS.items():
        spoken = tokenizer.encode(text, add_special_tokens=False).ids
        ids = [*spoken, *tokenizer.encode("a", add_special_tokens=False).ids[-1:]]
        bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
        told, read = [], ""
        for index, (start, end) in enumerate(pairwise(bounds)):
            window = ids[max(0, start - MAX_CONTEXT_IDS) : start]
            is_last = index == len(bounds) - 2 and end > start
            flags = LISTS | DeltaFlags.SILENT_END if is_last else LISTS
            delta = EncodedDelta(DETOKENIZERS[name], [*window, *ids[start:end]], len(window), is_last, flags)
            read += delta.text()
            told += [*json.loads(list_deltas([delta], [b"lengths"])[0] or "[]")]
        if end > start:
            assert [token["token_id"] for token in told] == ids, name
            assert read == tokenizer.decode(spoken), name
            assert sum(token["text_length"] for token in told) == len(read), name


def test_a_token_without_a_logprob_is_listed_behind_those_that_have_one() -> None:
    delta = EncodedDelta(DETOKENIZER, [5, 6], 0, True, LISTS | DeltaFlags.SILENT_END)
    [tokens] = map(json.loads, list_deltas([delta], [to_json([TokenLogprob(-1.0)])]))
    assert [token["token_id"] for token in tokens] == [5, 6]
    assert "logprob" in tokens[0]
    assert tokens[1] == {"token_id": 6, "text_length": 0}


def test_the_end_of_an_answer_is_listed_where_ids_are_asked_for_and_its_text_is_none() -> None:
    for asked in (False, True):
        stream = Stream("a", request(end_ids=(END, 9), sampling=Sampling(), token_ids=asked, token_lengths=asked))
        stream.accept([5], "")
        stream.take()
        stream.accept([6, 9], "stop")
        emission = stream.take()
        assert emission.output_ids == ([5, 6, 9] if asked else [5, 6])
        assert emission.lengths == (1, 3, 6) if asked else (1, 2, 0)
        assert emission.generated == 3


def test_a_message_tells_of_the_prompts_that_were_asked_for_once() -> None:
    scored = Stream("a", request(input_ids=[8, 9], sampling=Sampling(prompt_logprobs=1)))
    scored.prompt_logprobs = [TokenLogprob(None), TokenLogprob(-2.0, [(7, -0.5), (9, -2.0)], 2)]
    known = Stream("b", request(input_ids=[4], sampling=Sampling(), token_ids=True, token_lengths=True))
    plain = Stream("c", request(sampling=Sampling()))
    for stream in (scored, known, plain):
        stream.accept([5], "")
    emissions = [stream.take() for stream in (scored, known, plain)]
    deltas = split_deltas(
        Detokenizers(DETOKENIZER, DETOKENIZER),
        [id for emission in emissions for id in emission.output_ids],
        [length for emission in emissions for length in emission.lengths],
        [False] * 3,
    )
    *tokens, of_scored, of_known, of_plain = list_deltas(deltas, listed(emissions))
    assert [bool(each) for each in tokens] == [False, True, False]
    first, second = json.loads(of_scored)["logprobs"]
    assert first is None
    assert {id: (each["logprob"], each["rank"]) for id, each in second.items()} == {"9": (-2.0, 2), "7": (-0.5, 1)}
    assert json.loads(of_known) == {"token_ids": [4], "logprobs": []}
    assert of_plain == ""
    for stream in (scored, known, plain):
        stream.accept([6], "stop")
    assert not any(stream.take().prompt for stream in (scored, known, plain))


def test_a_message_in_which_nothing_is_listed_has_no_list() -> None:
    stream = Stream("c", request(sampling=Sampling()))
    stream.accept([5], "")
    assert listed([stream.take()]) == []
