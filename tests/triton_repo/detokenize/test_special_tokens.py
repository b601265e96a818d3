"""Special tokens are text for requests that ask for them, in any chunking, beside requests that do not."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizers.streaming import stream
from tests.triton_repo.detokenize.tokenizers_under_test import byte_level, sentencepiece
from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.logprobs import LENGTHS_ONLY
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import MAX_CONTEXT_IDS
from triton_repo.detokenize.detokenizer import Detokenizers, EncodedDelta, make_detokenizer, split_deltas
from triton_repo.detokenize.token_texts import list_deltas
from triton_repo.engine.loop.stream import Stream
from triton_repo.engine.request import EngineRequest, parse_request

TOKENIZERS = {"byte-level": byte_level(), "sentencepiece": sentencepiece()}
for each in TOKENIZERS.values():
    each.add_special_tokens(["[TOOL_CALLS]", "<|python_tag|>"])
END = {"byte-level": "<|im_end|>", "sentencepiece": "</s>"}
PIECES = ["[TOOL_CALLS]", "<|python_tag|>", "he", "😀", "你好", "llo", "a b"]
pieces = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
cuts = st.lists(st.integers(min_value=0, max_value=60), max_size=20)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=pieces, cuts=cuts)
def test_kept_special_tokens_stand_where_the_model_wrote_them_and_the_end_leaves_no_text(
    name: str, text: str, cuts: list[int]
) -> None:
    tokenizer, end = TOKENIZERS[name], TOKENIZERS[name].token_to_id(END[name])
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    keeping = make_detokenizer(tokenizer).keeping_special([end])
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    assert "".join(stream(keeping, [*ids, end], cuts)) == whole
    for piece in ("[TOOL_CALLS]", "<|python_tag|>"):
        assert whole.count(piece) == text.count(piece)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=pieces, cuts=cuts)
def test_the_lengths_of_tokens_count_the_special_ones_that_are_kept(name: str, text: str, cuts: list[int]) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    keeping = make_detokenizer(tokenizer).keeping_special([])
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    lengths = []
    for start, end in pairwise(bounds):
        context = ids[max(0, start - MAX_CONTEXT_IDS) : start]
        [listed] = list_deltas(
            [EncodedDelta(keeping, [*context, *ids[start:end]], len(context), end == len(ids))], [LENGTHS_ONLY]
        )
        lengths += [token["text_length"] for token in json.loads(listed or "[]")]
    assert sum(lengths) == len(tokenizer.decode(ids, skip_special_tokens=False))


def test_a_request_asks_by_a_parameter_and_its_deltas_say_so() -> None:
    assert not parse_request({"input_ids": [5]}, {}, engine_config()).keep_special
    assert parse_request({"input_ids": [5]}, {"keep_special": True}, engine_config()).keep_special
    stream = Stream("a", EngineRequest([1], 9, (2,), Sampling(), stream=True, keep_special=True))
    stream.accept([7, 8], "")
    assert stream.take().lengths == (0, 2, 1)


def test_in_one_message_each_delta_keeps_or_drops_special_tokens_by_itself() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    plain = make_detokenizer(tokenizer)
    end = tokenizer.token_to_id(END["byte-level"])
    ids = [*tokenizer.encode("a[TOOL_CALLS]b", add_special_tokens=False).ids, end]
    lengths = [0, len(ids), 0, 0, len(ids), 1, 1, len(ids), 1]
    both = Detokenizers(plain, plain.keeping_special([end]))
    texts = [delta.text() for delta in split_deltas(both, ids * 3, lengths, [True] * 3)]
    assert texts == ["ab", "a[TOOL_CALLS]b", "[TOOL_CALLS]b"]
