"""Where an answer with a guide may end on the embedded CPU engine, and by which of the model's end tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
import pytest
from tokenizers import AddedToken, Tokenizer, models

from gateway.parsers.guides import CallForm, CallRules, Thinking, tools_guide
from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.guides import structured_output
from triton_repo.engine.runtimes.openvino.proving import as_grammar
from triton_repo.engine.runtimes.openvino.smallest_model import smallest_model
from triton_repo.engine.runtimes.openvino.vocabulary import Vocabulary, tokenizer_of, vocabulary_of

# The model on which they are followed takes the first token that is allowed: an end token, wherever that is one.
TURN_END, OTHER_END = 0, 1
TOKENS = (b"", b"", *(bytes([code]) for code in range(32, 127)), b"\n", b"</think>", b"<tool_call>")
CALL = CallForm('<tool_call>{"name": "NAME", "arguments": ', "}</tool_call>", "<tool_call>")
SCHEMAS = {"weather": {"type": "object", "properties": {"n": {"const": 1}}, "required": ["n"]}}
STRING = {"type": "string", "minLength": 3, "maxLength": 3}

Follow = Callable[[Guide], list[int]]


@pytest.fixture(scope="module", params=[TURN_END, OTHER_END], ids=["the end of a turn", "another end token"])
def first_end(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def follow(first_end: int, tmp_path_factory: pytest.TempPathFactory) -> Follow:
    """The first ids of an answer with a guide, `first_end` being the id 0."""
    directory = tmp_path_factory.mktemp("model")
    openvino.save_model(smallest_model(len(TOKENS)), directory / "openvino_model.xml")
    end_ids = (0, 1) if first_end == TURN_END else (1, 0)
    tokenizer = tokenizer_of(Vocabulary(TOKENS, end_ids))
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 64
    pipeline = openvino_genai.ContinuousBatchingPipeline(directory, tokenizer, scheduler, "CPU")

    def ids(guide: Guide) -> list[int]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = 80
        config.set_eos_token_id(0)
        config.stop_token_ids = {0, 1}
        config.structured_output_config = structured_output(as_grammar(guide))
        [result] = pipeline.generate([openvino.Tensor(np.zeros((1, 1), np.int64))], [config])
        return [int(id) for id in result.m_generation_ids[0]]

    return ids


def text(ids: list[int]) -> str:
    return b"".join(TOKENS[id] for id in ids).decode()


def tools(**rules: Any) -> Guide:
    thinking = rules.pop("thinking", None)
    return Guide("structural_tag", tools_guide(CALL, SCHEMAS, CallRules(**rules), thinking))


def test_text_that_may_have_calls_in_it_may_end_by_any_end_token(follow: Follow) -> None:
    assert follow(tools(required=False)) == [0]
    assert follow(tools(required=False, parallel=False)) == [0]


def test_text_alone_may_end_by_the_end_of_a_turn(first_end: int, follow: Follow) -> None:
    assert (follow(Guide("regex", ".*"))[0] == 0) == (first_end == TURN_END)
    assert (follow(Guide("ebnf_grammar", "root ::= [^a]*"))[0] == 0) == (first_end == TURN_END)


@pytest.mark.parametrize(
    ("guide", "matches"),
    [
        (Guide("regex", "[^e]{3}x"), "   x"),
        (Guide("ebnf_grammar", 'root ::= "yes" | "no"'), "no|yes"),
        (Guide("json_schema", json.dumps(STRING)), '"[^"]{3}"'),
        (Guide("json_schema", json.dumps({"type": "array", "items": STRING, "minItems": 1})), r'\[ ?"[^"]{3}" ?\]'),
        (tools(required=True), r'<tool_call>\{"name": "weather", "arguments": \{\s*"n": ?1\s*\}\}</tool_call>'),
    ],
    ids=["regex", "ebnf", "string", "array", "calls"],
)
def test_an_answer_ends_once_its_guide_is_complete_and_no_sooner(follow: Follow, guide: Guide, matches: str) -> None:
    *ids, end = follow(guide)
    assert end == 0
    assert re.fullmatch(matches, text(ids))


def test_an_answer_may_not_end_within_its_reasoning(follow: Follow) -> None:
    open_reasoning = Thinking("<think>", "</think>", is_open=True)
    assert {0, 1}.isdisjoint(follow(tools(required=False, thinking=open_reasoning)))


def test_the_end_of_a_turn_is_the_end_token_that_the_chat_template_writes_most_often(tmp_path: Path) -> None:
    engine = EngineDirectory(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in ("text", "eom", "eot", "odd")])
    engine.tokenizer.mkdir()
    tokenizer.save(str(engine.tokenizer_file))
    config = engine_config(vocab_size=8, eos_token_ids=(1, 2, 3))
    assert vocabulary_of(engine, config).end_ids == (1, 2, 3)
    engine.chat_template.write_text("<|eot|>{{ x }}<|eot|>{{ y }}<|eom|>", encoding="utf-8")
    assert vocabulary_of(engine, config).end_ids == (3, 2, 1)
    assert vocabulary_of(engine, config).tokens[1:] == (b"",) * 7
    engine.chat_template.write_text("{{ x + eos_token }}{{ y + eos_token }}<|eot|>", encoding="utf-8")
    (engine.tokenizer / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|eom|>"}}', encoding="utf-8")
    assert vocabulary_of(engine, config).end_ids == (2, 3, 1)
