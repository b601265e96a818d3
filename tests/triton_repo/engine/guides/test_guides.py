"""Guides of requests: what is rejected before the engine gets it, and what TensorRT-LLM then gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.build_scripts.conftest import write_tokenizer
from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import END, PROMPT, drain, engine_config, generation, write_model
from tests.triton_repo.engines_under_test import engine_config as replay_config
from triton_repo.contract.engine_config import EngineConfig, Flow, GuidedDecodingBackend, TensorRtLlmConfig
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import MAX_GUIDE_LENGTH, Guide, Sampling
from triton_repo.engine.guides.queue import guide_validator
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.tensorrt_llm.arguments import guide_arguments

pytestmark = pytest.mark.usefixtures("tensorrt_llm")

KIND, GUIDE = "guided_decoding_guide_type", "guided_decoding_guide"
GOOD = {
    "json_schema": '{"type": "object"}',
    "regex": "(yes|no)",
    "ebnf_grammar": 'root ::= "yes" | "no"',
    "structural_tag": '{"type": "structural_tag", "format": {"type": "any_text"}}',
}


def guided(backend: GuidedDecodingBackend | None = "xgrammar", flow: Flow = "pytorch") -> EngineConfig:
    return engine_config(tensorrt_llm=TensorRtLlmConfig(flow=flow, guided_decoding_backend=backend))


def parse(parameters: dict[str, Any], config: EngineConfig, **tensors: Any) -> Sampling:
    return parse_request({"input_ids": [5], **tensors}, parameters, config).sampling


def check(kind: Any, guide: str, config: EngineConfig) -> None:
    """What becomes of a request that says so, up to the engine's loop."""
    parse({KIND: kind, GUIDE: guide}, config)
    validator = guide_validator(Path("/e"), config)
    try:
        assert validator.validate(Guide(kind, guide)) == (kind, guide)
    finally:
        validator.close()


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_guide_that_the_library_can_read_is_taken(kind: str) -> None:
    sampling = parse({KIND: kind, GUIDE: GOOD[kind]}, guided())
    assert (sampling.guided_decoding_guide_type, sampling.guided_decoding_guide) == (kind, GOOD[kind])
    check(kind, GOOD[kind], guided())


def test_plain_json_needs_no_guide() -> None:
    assert parse({KIND: "json"}, guided()).guided_decoding_guide_type == "json"


@pytest.mark.parametrize(
    ("parameters", "param", "error"),
    [
        ({KIND: "xml", GUIDE: "a"}, KIND, "Input should be 'json'"),
        ({KIND: "regex"}, GUIDE, f"{KIND} = regex needs a {GUIDE}"),
        ({KIND: "json", GUIDE: "{}"}, GUIDE, f"{KIND} = json takes no {GUIDE}"),
        ({GUIDE: "{}"}, KIND, f"{KIND} = None: must be one of json, json_schema, regex, ebnf_grammar, structural_tag"),
        ({KIND: "regex", GUIDE: ""}, GUIDE, "at least 1 character"),
        ({KIND: "regex", GUIDE: "a" * (MAX_GUIDE_LENGTH + 1)}, GUIDE, f"at most {MAX_GUIDE_LENGTH} characters"),
        ({KIND: "regex", GUIDE: 7}, GUIDE, "valid string"),
        ({KIND: "json", "ignore_eos": True}, "ignore_eos", "the guide decides when an answer may end"),
    ],
)
def test_what_is_no_guide_is_rejected_by_name(parameters: dict[str, Any], param: str, error: str) -> None:
    with pytest.raises(InvalidRequest) as rejected:
        parse(parameters, guided())
    assert rejected.value.param == param
    assert error in rejected.value.message


@pytest.mark.parametrize(
    ("kind", "guide", "error"),
    [
        ("regex", "(a", "xgrammar cannot parse this regex: Regex parsing error"),
        ("json_schema", "{", "xgrammar cannot parse this json_schema: Failed to parse JSON"),
        ("json_schema", "[]", "Schema should be an object"),
        ("structural_tag", "{}", "must have a format"),
    ],
)
def test_what_the_library_cannot_read_is_rejected_in_its_words(kind: str, guide: str, error: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(error)) as rejected:
        check(kind, guide, guided())
    assert rejected.value.param == GUIDE


def test_an_error_of_the_library_is_one_line() -> None:
    with pytest.raises(InvalidRequest) as rejected:
        check("ebnf_grammar", "a ::= b", guided())
    assert rejected.value.message.endswith('The root rule with name "root" is not found')


def test_min_tokens_together_with_a_guide_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match="min_tokens: not possible together with"):
        parse({KIND: "json"}, guided(), min_tokens=[3])


@pytest.mark.parametrize("defaults", [{"min_tokens": 3}, {"ignore_eos": True}])
def test_defaults_of_the_engine_that_a_guide_excludes_give_way_to_it(defaults: dict[str, Any]) -> None:
    config = guided().model_copy(update={"sampling": Sampling(**defaults)})
    assert parse({}, config).model_dump(exclude_none=True).items() >= defaults.items()
    sampling = parse({KIND: "json"}, config)
    assert (sampling.min_tokens, sampling.ignore_eos) == (None, None)


@pytest.mark.parametrize("end_id", [-1, 7])
def test_a_guide_whose_answer_could_not_end_is_rejected(end_id: int) -> None:
    with pytest.raises(InvalidRequest, match="end_id: not possible together with") as caught:
        parse({KIND: "json"}, guided(), end_id=[end_id])
    assert caught.value.param == "end_id"
    parse({KIND: "json"}, guided(), end_id=[END])


def test_llguidance_proves_its_own_grammars_and_has_no_tags() -> None:
    config = guided("llguidance")
    check("ebnf_grammar", 'start: "yes"', config)
    for kind, guide, error in (
        ("ebnf_grammar", 'root ::= "yes"', "llguidance cannot parse this ebnf_grammar: no start rule found"),
        ("json_schema", "{", "llguidance cannot parse this json_schema"),
        ("structural_tag", GOOD["structural_tag"], "must be one of json, json_schema, regex, ebnf_grammar"),
    ):
        with pytest.raises(InvalidRequest, match=error):
            check(kind, guide, config)


def test_the_compiled_flow_has_no_tags() -> None:
    with pytest.raises(InvalidRequest, match="= structural_tag: must be one of json, json_schema, regex, ebnf"):
        parse({KIND: "structural_tag", GUIDE: GOOD["structural_tag"]}, guided(flow="compiled"))


@pytest.mark.parametrize("config", [guided(None), replay_config()])
def test_an_engine_without_guided_decoding_never_ignores_a_guide(config: EngineConfig) -> None:
    with pytest.raises(UnsupportedParameter, match=f"{KIND}: this engine has no guided decoding"):
        parse({KIND: "json"}, config)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("json_schema", "json"),
        ("regex", "regex"),
        ("ebnf_grammar", "grammar"),
        ("structural_tag", "structural_tag"),
    ],
)
def test_guides_are_called_what_tensorrt_llm_calls_them(kind: Any, name: str) -> None:
    sampling = Sampling(guided_decoding_guide_type=kind, guided_decoding_guide=GOOD[kind])
    assert guide_arguments(sampling) == {name: GOOD[kind]}
    assert guide_arguments(Sampling(guided_decoding_guide_type="json")) == {"json_object": True}
    assert guide_arguments(Sampling()) == {}


@pytest.mark.parametrize("backend", ["llguidance", None])
def test_a_backend_brings_the_tokenizer_and_no_backend_leaves_it_out(
    backend: GuidedDecodingBackend | None, tmp_path: Path
) -> None:
    write_model(tmp_path / "model")
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer(tmp_path / "tokenizer")
    runtime = open_runtime(tmp_path, guided(backend))
    try:
        arguments = runtime._llm.args  # type: ignore[attr-defined]
    finally:
        runtime.close()
    assert (arguments.guided_decoding_backend, arguments.skip_tokenizer_init) == (backend, backend is None)


@pytest.mark.parametrize("flow", ["compiled", "pytorch"])
def test_the_guide_reaches_tensorrt_llm_in_both_flows_and_only_its_own_request(flow: Flow, tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer(tmp_path / "tokenizer")
    runtime = open_runtime(tmp_path, guided(flow=flow))
    sampling = Sampling(temperature=0.0, guided_decoding_guide_type="regex", guided_decoding_guide="ab")
    try:
        runtime.submit(generation(1, sampling=sampling))
        runtime.submit(generation(2))
        deltas = drain(runtime, 1, 2)
    finally:
        runtime.close()
    from tokenizers import Tokenizer

    guide = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json")).encode("ab").ids
    assert ids_of(deltas, 1) == [*guide, END]
    assert ids_of(deltas, 2) == [*PROMPT, END]
