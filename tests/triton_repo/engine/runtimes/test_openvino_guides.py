"""Guides on the embedded CPU engine: each answer matches its own, and no other request notices."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from build_scripts.build import ensure_engine
from tests.triton_repo.engine.runtimes.deltas import drain, ids_of
from tests.triton_repo.engine.runtimes.test_openvino_runtime import PROMPTS, generation
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import Guide, Sampling
from triton_repo.detokenize.detokenizer import make_detokenizer
from triton_repo.engine.guides.libraries import OPENVINO
from triton_repo.engine.guides.proof import GuideProver
from triton_repo.engine.guides.queue import GuideValidator, guide_validator
from triton_repo.engine.runtimes.openvino.guides import Guides
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation

PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
SAMPLED = Sampling(temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def engine() -> Path:
    return ensure_engine("demo").directory


@pytest.fixture
def runtime(engine: Path) -> Iterator[OpenVinoRuntime]:
    runtime = OpenVinoRuntime(engine / "model", EngineConfig.load(engine))
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def prove(engine: Path) -> Iterator[Any]:
    validator = guide_validator(engine, EngineConfig.load(engine))
    yield validator.validate
    validator.close()


class Answers:
    """What a runtime has answered, as text."""

    def __init__(self, engine: Path, runtime: OpenVinoRuntime) -> None:
        self._detokenizer = make_detokenizer(Tokenizer.from_file(str(engine / "tokenizer" / "tokenizer.json")))
        self._runtime = runtime
        self._eos = EngineConfig.load(engine).eos_token_ids

    def submit(self, key: int, guide: Guide, sampling: Sampling = SAMPLED, max_tokens: int = 200) -> None:
        self._runtime.prepare(guide)
        guided = sampling.guided_by(guide)
        self._runtime.submit(Generation(key, PROMPTS[key], max_tokens, self._eos, guided))

    def text(self, ids: list[int]) -> str:
        return self._detokenizer.delta([id for id in ids if id not in self._eos], 0, final=True)


@pytest.mark.parametrize(
    ("guide", "matches"),
    [
        (Guide("regex", "[a-c]{3}-[0-9]{2}"), r"[a-c]{3}-[0-9]{2}"),
        (Guide("ebnf_grammar", 'root ::= "yes" | "no"'), "yes|no"),
        (Guide("json_schema", PERSON), r'\s*\{\s*"name"\s*:\s*".{0,12}"\s*,\s*"age"\s*:\s*-?\d+\s*\}\s*'),
        (
            Guide(
                "structural_tag",
                json.dumps(
                    {
                        "type": "structural_tag",
                        "format": {
                            "type": "tag",
                            "begin": "<tool_call>",
                            "content": {"type": "json_schema", "json_schema": {"const": 7}},
                            "end": "</tool_call>",
                        },
                    }
                ),
            ),
            "<tool_call>7</tool_call>",
        ),
    ],
)
def test_an_answer_matches_its_guide(
    engine: Path, runtime: OpenVinoRuntime, prove: Any, guide: Guide, matches: str
) -> None:
    answers = Answers(engine, runtime)
    answers.submit(1, prove(guide))
    deltas = drain(runtime)
    assert deltas[-1].finish_reason == "stop"
    assert re.fullmatch(matches, answers.text(ids_of(deltas, 1)))


def test_streams_beside_guided_ones_are_those_that_they_are_alone(
    engine: Path, runtime: OpenVinoRuntime, prove: Any
) -> None:
    runtime.submit(generation(1))
    runtime.submit(generation(2, SAMPLED))
    alone = drain(runtime)
    answers = Answers(engine, runtime)
    runtime.submit(generation(1))
    runtime.submit(generation(2, SAMPLED))
    beside = [*runtime.step(), *runtime.step()]
    answers.submit(3, prove(Guide("json_schema", PERSON)))
    answers.submit(4, prove(Guide("json", None)), max_tokens=8)
    beside += drain(runtime)
    assert [ids_of(beside, key) for key in (1, 2)] == [ids_of(alone, key) for key in (1, 2)]
    assert {delta.key: delta.finish_reason for delta in beside if delta.finish_reason}[3] == "stop"


def test_a_guided_answer_survives_a_step_that_fails(engine: Path, runtime: OpenVinoRuntime, prove: Any) -> None:
    """It begins again, and what it has said already is not said twice."""
    answers = Answers(engine, runtime)
    guide = prove(Guide("json_schema", PERSON))
    answers.submit(3, guide)
    alone = ids_of(drain(runtime), 3)
    answers.submit(3, guide)
    runtime.submit(generation(1))
    deltas = [*runtime.step(), *runtime.step(), *runtime.step()]
    assert 0 < len(ids_of(deltas, 3)) < len(alone)
    runtime.submit(
        Generation(2, PROMPTS[2], 5, (), Sampling(guided_decoding_guide_type="regex", guided_decoding_guide="("))
    )
    deltas += drain(runtime)
    assert ids_of(deltas, 3) == alone
    assert [delta.key for delta in deltas if delta.error] == [2]


def test_a_guided_answer_that_begins_again_waits_for_its_turn(engine: Path, runtime: OpenVinoRuntime) -> None:
    answers, batch = Answers(engine, runtime), runtime._lanes[None].batch
    answers.submit(3, Guide("regex", "[a-c]{30}"))
    deltas = [*runtime.step(), *runtime.step()]
    assert not batch.awaits_first_of_guided
    batch._recover()  # as after a step that fails, and in which none joined
    assert batch.awaits_first_of_guided
    deltas += drain(runtime)
    assert re.fullmatch("[a-c]{30}", answers.text(ids_of(deltas, 3)))


def test_a_guide_that_is_compiled_meanwhile_stops_no_other_request(engine: Path, runtime: OpenVinoRuntime) -> None:
    guides = runtime._guides
    assert guides is not None
    answers = Answers(engine, runtime)
    answers.submit(3, Guide("regex", "abc"))
    runtime.submit(generation(1))
    with guides._turn:  # as while another thread compiles
        for _ in range(4):
            runtime.step()
        deltas = runtime.step()
        assert {delta.key for delta in deltas} == {1}
    assert ids_of(drain(runtime), 3)
    assert not guides._turn.locked()


def test_what_is_compiled_is_dropped_before_it_takes_too_much_memory(
    engine: Path, runtime: OpenVinoRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    guides = runtime._guides
    assert guides is not None
    answers = Answers(engine, runtime)
    answers.submit(3, Guide("json_schema", PERSON))
    runtime.submit(generation(1))
    alone = drain(runtime)
    answers.submit(3, Guide("json_schema", PERSON))
    runtime.submit(generation(1))
    deltas = [*runtime.step(), *runtime.step(), *runtime.step()]
    tokenizer = guides.tokenizer
    monkeypatch.setattr(guides, "_num_bytes", 1 << 40)  # grammars of so much would take minutes to compile
    deltas += drain(runtime)
    assert guides.tokenizer is not tokenizer
    assert [ids_of(deltas, key) for key in (1, 3)] == [ids_of(alone, key) for key in (1, 3)]


def test_threads_that_compile_wait_for_their_turn(engine: Path, runtime: OpenVinoRuntime) -> None:
    guides = runtime._guides
    assert isinstance(guides, Guides)
    assert guides.take_turn(wait=False)
    compiling = threading.Thread(target=runtime.prepare, args=(Guide("regex", "x"),))
    compiling.start()
    compiling.join(0.1)
    assert compiling.is_alive()
    assert runtime.idle_s() is None  # an idle loop leaves the turn to others
    compiling.join(60)
    assert not compiling.is_alive()


def test_compiling_gives_way_and_leaves_its_caller_the_priority_that_it_had(runtime: OpenVinoRuntime) -> None:
    def priorities() -> dict[int, int]:
        return {int(id): os.getpriority(os.PRIO_PROCESS, int(id)) for id in os.listdir("/proc/self/task")}

    before = priorities()
    runtime.prepare(Guide("regex", "x"))
    after = priorities()
    assert {id: priority for id, priority in after.items() if id in before} == before
    assert max(after.values()) > before[threading.get_native_id()]


LIMIT_S = 2.0
DEEP = 20_000
BOMBS = {
    "nested groups": Guide("regex", "(" * DEEP + "a" + ")" * DEEP),
    "nested groups of a grammar": Guide("ebnf_grammar", "root ::= " + "(" * DEEP + '"a"' + ")" * DEEP),
    "nested repetitions": Guide("regex", "((a{1000}){1000}){1000}"),
    "nested repetitions of a grammar": Guide("ebnf_grammar", 'root ::= (("a"{1000}){1000}){100000}'),
    "an exponential expression": Guide("regex", "(a|b)*a(a|b){20}"),
    "many alternatives": Guide("regex", "|".join(f"{number**9 % 1_000_000_007:x}" for number in range(7000))),
    "lookaround": Guide("regex", "(?=a)b"),
    "a billion items": Guide("json_schema", '{"type": "array", "minItems": 1000000000}'),
    "a circle": Guide("json_schema", '{"$ref": "#"}'),
    "a circle of objects": Guide("json_schema", '{"allOf": [{"$ref": "#"}, {"type": "object"}]}'),
    "a product of alternatives": Guide(
        "json_schema",
        json.dumps({"allOf": [{"anyOf": [{"minimum": n + 100 * k} for n in range(40)]} for k in range(6)]}),
    ),
    "nothing": Guide("ebnf_grammar", "root ::= root"),
    "nothing behind something": Guide("ebnf_grammar", 'root ::= "a" b\nb ::= b'),
    "no value": Guide("json_schema", '{"enum": []}'),
    "no JSON": Guide("json_schema", "{"),
    "a schema nested deep": Guide("json_schema", '{"items":' * 15_000 + "{}" + "}" * 15_000),
    "no tag": Guide("structural_tag", '{"type": "structural_tag", "format": {"type": "tag"}}'),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_guide_that_cannot_be_followed_never_reaches_the_engine(bomb_validator: GuideValidator, name: str) -> None:
    with pytest.raises(InvalidRequest) as rejected:
        bomb_validator.validate(BOMBS[name])
    assert rejected.value.param == "guided_decoding_guide"
    assert "\n" not in rejected.value.message
    assert ".cc:" not in rejected.value.message


def test_recursion_that_ends_is_no_bomb(bomb_validator: GuideValidator) -> None:
    for grammar in ('root ::= root "a" | "b"', 'root ::= "a" | "(" root ")"', 'root ::= x x\nx ::= "a" | x "b"'):
        bomb_validator.validate(Guide("ebnf_grammar", grammar))


@pytest.fixture(scope="module")
def bomb_validator(engine: Path) -> Iterator[GuideValidator]:
    validator = GuideValidator(GuideProver(OPENVINO, str(engine), limit_s=LIMIT_S, cpu_time=True))
    yield validator
    validator.close()
