"""An engine of runtime tensorrt_llm through the real Triton and gateway, on stand-ins for NVIDIA's programs.

Once over each LLM API: a compiled engine on 1.2.1, and the PyTorch flow on 1.4.0rc1. The stand-ins answer with the
prompt, then end; see `tests/fake_tensorrt_llm`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tritonclient.utils import InferenceServerException

from build_scripts.build import ensure_engine
from tests.build_scripts.adapters import write_adapter
from tests.build_scripts.conftest import Workshop, write_checkpoint
from tests.build_scripts.tensorrt_llm.gpu_host import use_gpu_host
from tests.conftest import ROOT, Stack, free_port, serving
from tests.fake_tensorrt_llm import Version, install
from tests.serving.test_cancellation import nothing_is_left
from tests.serving.triton_client import row, scalars, triton_stream
from tests.waiting import wait_for
from triton_repo.contract.errors import InvalidRequest, from_wire

FAILS = 318  # a token id that the stand-ins fail on
WAIT_S = 240
SPEC = "[build]\ntensor_parallel = 2\nmax_seq_len = 256\nmax_batch_size = 16\nmax_num_tokens = 512\n"
SERVED = '[serve]\nguided_decoding_backend = "xgrammar"\n'
ADAPTED = '[build.lora.adapters]\nfrench = "tiny/french"\n'


@dataclass(frozen=True)
class Kind:
    """`dies_on` is the token id that ends the engine: a worker process, or the event loop of the executor."""

    version: Version
    spec: str
    dies_on: int


COMPILED = Kind("1.2.1", SPEC + SERVED + "gather_generation_logits = true\n" + ADAPTED, dies_on=319)
PYTORCH = Kind("1.4.0rc1", SPEC + 'flow = "pytorch"\n' + SERVED + ADAPTED, dies_on=317)


@dataclass(frozen=True)
class Served:
    stack: Stack
    workshop: Workshop
    kind: Kind


def conch(workshop: Workshop) -> tuple[str, ...]:
    """The command where the stand-in is installed."""
    return str(workshop.root / "python" / "bin" / "python3"), "-m", "launch.cli"


@pytest.fixture(scope="module", params=[COMPILED, PYTORCH], ids=lambda kind: kind.version)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def gpu_host(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A built engine on a machine that seems to have TensorRT-LLM and GPUs."""
    workshop = Workshop(tmp_path_factory.mktemp("tensorrt_llm"))
    write_checkpoint(workshop.checkpoint)
    write_adapter(workshop.root / "tiny" / "french")
    with pytest.MonkeyPatch.context() as patch:
        use_gpu_host(patch, workshop.root / "bin")
        install(workshop.root / "python", kind.version)
        ensure_engine(workshop.write_spec(kind.spec, runtime="tensorrt_llm"))
        yield workshop


@pytest.fixture(scope="module")
def served(gpu_host: Workshop, kind: Kind) -> Iterator[Served]:
    with serving(str(gpu_host.spec), log=gpu_host.root / "serve.log", conch=conch(gpu_host)) as stack:
        yield Served(stack, gpu_host, kind)


@pytest.fixture
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.stack.gateway}/v1", api_key="none", max_retries=0)


def complete(client: OpenAI, prompt: Any, **fields: Any) -> Any:
    return client.completions.create(model="tiny", prompt=prompt, temperature=0, **fields)


def test_tokens_stream_through_the_ensemble_and_the_end_is_told(client: OpenAI) -> None:
    chunks = list(
        complete(client, "hello shell 🐚", max_tokens=60, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "hello shell 🐚"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len(chunks) > 3
    length = len("hello shell 🐚".encode())
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (length, length + 1)


def test_a_chat_goes_through_its_template(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=60)
    assert answer.choices[0].message.content == "<user>hi"


def test_max_tokens_and_stop_strings_end_an_answer(client: OpenAI) -> None:
    cut = complete(client, "one two three", max_tokens=5).choices[0]
    stopped = complete(client, "one two three", max_tokens=50, stop=[" th"]).choices[0]
    assert (cut.text, cut.finish_reason) == ("one t", "length")
    assert (stopped.text, stopped.finish_reason) == ("one two", "stop")


@pytest.mark.parametrize("top", [0, 2, 20])
def test_logprobs_come_with_their_alternatives(client: OpenAI, top: int) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=60, logprobs=True, top_logprobs=top
    )
    [choice] = answer.choices
    assert choice.logprobs is not None
    tokens = choice.logprobs.content
    assert tokens is not None
    assert "".join(token.token for token in tokens) == choice.message.content == "<user>hi"
    assert {len(token.top_logprobs) for token in tokens} == {top}
    assert len({token.logprob for token in tokens}) > 1
    if top > 2:
        assert all(token.token in {other.token for other in token.top_logprobs} for token in tokens)


def test_the_logprobs_of_a_prompt_come_in_vllms_form_or_are_rejected_by_name(served: Served, client: OpenAI) -> None:
    asked = {"prompt_logprobs": 1, "return_token_ids": True}
    if served.kind is COMPILED:
        with pytest.raises(openai.BadRequestError, match="prompt_logprobs: this engine has no logprobs of prompts"):
            complete(client, "shell", max_tokens=2, extra_body=asked)
        return
    for _ in range(2):  # the second time the cache has the prompt
        [choice] = complete(client, "shell" * 20, max_tokens=2, extra_body=asked).choices
        first, *others = choice.prompt_logprobs
        assert first is None
        for id, of in zip(choice.prompt_token_ids[1:], others, strict=True):
            assert of[str(id)]["logprob"] == -0.5 * (id % 3 + 1)
            assert of[str(id)]["rank"] == id % 3 + 1
        named = zip(choice.prompt_token_ids[1:], others, strict=True)
        assert "".join(of[str(id)]["decoded_token"] for id, of in named) == ("shell" * 20)[1:]
        assert choice.token_ids == choice.prompt_token_ids[:2]


def test_a_bias_reaches_the_sampler(client: OpenAI) -> None:
    plain = complete(client, "abc", max_tokens=3, extra_body={"return_token_ids": True}).choices[0]
    chosen = plain.token_ids[2]
    answer = complete(client, "abc", max_tokens=3, logit_bias={str(chosen): 100}).choices[0]
    assert (plain.text, answer.text) == ("abc", "ccc")
    with pytest.raises(openai.BadRequestError, match="logit_bias: token id 99999 is not in"):
        complete(client, "abc", logit_bias={"99999": 1})


def test_what_was_cached_is_counted_where_an_api_tells_and_every_engine_takes_a_priority(
    served: Served, client: OpenAI
) -> None:
    prompt = "a prompt of more than two blocks of the cache, each of which has thirty-two tokens"

    def ask(**fields: Any) -> Any:
        return complete(client, prompt, max_tokens=100, extra_body=fields)

    usages = [ask(cache_salt=salt).usage for salt in ("a", "a", "b")]
    if served.kind is COMPILED:
        assert [usage.prompt_tokens_details for usage in usages] == [None] * 3
    else:
        assert [usage.prompt_tokens_details.cached_tokens for usage in usages] == [0, 64, 0]
    assert ask(priority=0.75).choices[0].text == prompt


def test_sixteen_at_a_time_get_their_own_answers(served: Served) -> None:
    async def ask() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served.stack.gateway}/v1", api_key="none", max_retries=0) as client:
            prompts = [f"question number {number}" for number in range(16)]
            calls = [client.completions.create(model="tiny", prompt=prompt, max_tokens=60) for prompt in prompts]
            return [answer.choices[0].text for answer in await asyncio.gather(*calls)]

    assert asyncio.run(ask()) == [f"question number {number}" for number in range(16)]


def test_a_failing_request_fails_alone(client: OpenAI) -> None:
    with client.completions.create(model="tiny", prompt="a" * 100, max_tokens=120, stream=True) as others:
        first = next(iter(others))
        with pytest.raises(openai.InternalServerError) as failure:
            complete(client, [70, FAILS, 71], max_tokens=9)
        rest = "".join(chunk.choices[0].text for chunk in others)
    assert "the engine failed on this request" in failure.value.message
    assert first.choices[0].text + rest == "a" * 100


def test_a_client_that_goes_frees_the_engine(served: Served) -> None:
    stack = served.stack

    def cancelled() -> float:
        return stack.engine_metric("conch_engine_requests_ended_total", model="tiny", outcome="cancelled")

    body = {"model": "tiny", "prompt": "endless", "max_tokens": 240, "ignore_eos": True, "stream": True}
    before = cancelled()
    with httpx.stream("POST", f"{stack.gateway}/v1/completions", json=body, timeout=WAIT_S) as response:
        next(response.iter_bytes())  # leave at once: the engine needs only a second for all
    wait_for(lambda: cancelled() == before + 1)
    nothing_is_left(stack, "tiny")


@pytest.mark.parametrize(
    "fields", [{"top_k": -1}, {"top_k": 0, "min_p": 0.1}, {"repetition_penalty": 1.2, "min_tokens": 9}, {"seed": -7}]
)
def test_every_sampling_parameter_is_taken(client: OpenAI, fields: dict[str, Any]) -> None:
    answer = client.completions.create(model="tiny", prompt="hey", temperature=1.5, max_tokens=12, extra_body=fields)
    assert answer.choices[0].text.startswith("hey")


def test_a_guide_of_a_stock_request_reaches_the_engine(served: Served) -> None:
    stock = {"text_input": "one or two?", "max_tokens": 60, "bad_words": "", "stop_words": ""}
    guide = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "(one|two)"}
    answer = httpx.post(f"{served.stack.triton_http}/v2/models/tiny/generate", json=stock | guide, timeout=WAIT_S)
    assert (answer.json()["text_output"], answer.json()["finish_reason"]) == ("(one|two)", "stop")


@pytest.mark.parametrize("kind", [COMPILED], indirect=True)
@pytest.mark.parametrize(
    ("guide", "complaint"),
    [
        ("(one", "Regex parsing error"),
        ("hangs", "parsing it takes longer than 2 s"),
        ("crashes", "parsing it ended by SIGSEGV"),
        ("glutton", "parsing it takes more than 1024 MiB of memory"),
    ],
)
def test_a_guide_that_cannot_be_read_is_one_error_of_the_client_and_the_engine_goes_on(
    served: Served, client: OpenAI, guide: str, complaint: str
) -> None:
    body = {"text_input": "one?", "guided_decoding_guide_type": "regex", "guided_decoding_guide": guide}
    refused = httpx.post(f"{served.stack.triton_http}/v2/models/tiny/generate", json=body, timeout=WAIT_S)
    assert refused.status_code == 400
    error = from_wire(refused.json()["error"])
    assert isinstance(error, InvalidRequest)
    assert error.param == "guided_decoding_guide"
    assert f"xgrammar cannot parse this regex: {complaint}" in error.message
    assert complete(client, "one", max_tokens=60).choices[0].text == "one"


@pytest.mark.parametrize("kind", [COMPILED], indirect=True)
def test_hostile_guides_hold_up_no_request_without_one(served: Served) -> None:
    prompt = [row("text_input", "BYTES", [b"one"]), row("max_tokens", "INT32", [60])]
    hostile = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "hangs"}
    with triton_stream(served.stack.triton_grpc) as stream:
        stream.send("tiny", prompt, **hostile)
        stream.send("tiny", prompt, **hostile)
        stream.send("tiny", prompt)  # comes to the engine behind them
        answers = [stream.next() for _ in range(3)]
    refused = [isinstance(answer, InferenceServerException) for answer in answers]
    assert refused in ([False, True, True], [True, False, True])  # the latter on a machine that is slower than a hang
    [answer] = [answer for answer in answers if not isinstance(answer, InferenceServerException)]
    assert scalars(answer, "text_output")["text_output"][0] == b"one"


def test_a_request_that_names_an_adapter_gets_it_and_an_unknown_name_is_refused(served: Served) -> None:
    url = f"{served.stack.triton_http}/v2/models/tiny/generate"
    body = {"text_input": "abc", "max_tokens": 60, "temperature": 0.0}
    answers = [httpx.post(url, json=body | more, timeout=WAIT_S).json() for more in ({}, {"lora_name": "french"})]
    assert [answer["text_output"] for answer in answers] == ["abc", "bca"]  # the stand-in's first adapter turns it once
    refused = httpx.post(url, json=body | {"lora_name": "german"}, timeout=WAIT_S)
    assert refused.status_code == 400
    error = from_wire(refused.json()["error"])
    assert error is not None
    assert error.message == "lora_name = german: must be one of french"


def test_an_engine_whose_executor_dies_is_started_again(served: Served, client: OpenAI) -> None:
    with pytest.raises(openai.APIError):
        complete(client, [70, served.kind.dies_on], max_tokens=9)
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            assert complete(client, "back", max_tokens=60).choices[0].text == "back"
        except openai.APIError:
            assert time.monotonic() < deadline, (served.workshop.root / "serve.log").read_text()
            time.sleep(0.2)
        else:
            return


@pytest.mark.parametrize("kind", [COMPILED], indirect=True)
def test_an_engine_of_another_version_is_not_served(gpu_host: Workshop) -> None:
    config = gpu_host.engine / "model" / "engine" / "config.json"
    text = config.read_text()
    config.write_text(json.dumps({**json.loads(text), "version": "1.1.0"}))
    try:
        argv = [*conch(gpu_host), "serve", str(gpu_host.engine)]
        for option in ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port"):
            argv += [option, str(free_port())]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    finally:
        config.write_text(text)
    assert done.returncode == 2
    assert "engine tiny was compiled by TensorRT-LLM 1.1.0, and this is 1.2.1: compile it again here" in done.stderr
