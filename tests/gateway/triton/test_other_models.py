"""Models beside the engines, asked of a real Triton: the step of an engine stands for one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import pytest

from gateway.answers.inference.models import Inference, ModelVersion, Wanted
from gateway.answers.inference.tensor import Tensor, join_strings, split_strings
from gateway.pool.addresses import Addresses
from gateway.pool.pool import TritonPool
from gateway.triton.backend import TritonBackend
from tests.conftest import KSERVE_KEY, Stack, free_port
from triton_repo.contract.errors import InvalidRequest, ModelNotFound

MODEL = ModelVersion("replay_detokenize")
T = TypeVar("T")


def ask(stack: Stack, question: Callable[[TritonBackend | TritonPool], Awaitable[T]], *, pooled: bool = False) -> T:
    async def main() -> T:
        def connect(address: str) -> TritonBackend:
            return TritonBackend(address, KSERVE_KEY)

        addresses = (f"127.0.0.1:{free_port()}", stack.triton_grpc)
        backend = TritonPool(Addresses(addresses, None), connect) if pooled else connect(stack.triton_grpc)
        try:
            await backend.ready()
            return await question(backend)
        finally:
            await backend.close()

    return asyncio.run(main())


def inference(model: ModelVersion = MODEL, **parameters: str | int) -> Inference:
    ids = Tensor("output_ids", "INT32", (1, 0), b"")
    lengths = Tensor("delta_lengths", "INT32", (1, 3), bytes(12))
    words = Tensor("finish_reason", "BYTES", (1, 1), join_strings([b"stop"]))
    logprobs = Tensor("logprobs", "BYTES", (1, 1), join_strings([b""]))
    return Inference(model, "x", parameters, [ids, lengths, words, logprobs], [Wanted("text_output", {})])


@pytest.mark.parametrize("pooled", [False, True])
def test_a_model_is_asked(stack: Stack, *, pooled: bool) -> None:
    inferred = ask(stack, lambda backend: backend.others.infer(inference()), pooled=pooled)
    assert inferred.model == (MODEL.name, "1")
    assert inferred.id == "x"
    (output,) = inferred.outputs
    assert split_strings(output.check().content, 2)[:1] == [b""]


def test_parameters_reach_triton(stack: Stack) -> None:
    """A model that keeps no sequences ignores that it is a part of one."""
    part = inference(sequence_id="s", sequence_start=True)
    assert ask(stack, lambda backend: backend.others.infer(part)).id == "x"


def test_what_is_said_of_a_model_is_what_triton_says_over_http(stack: Stack) -> None:
    url = f"{stack.triton_http}/v2/models/{MODEL.name}"
    metadata = ask(stack, lambda backend: backend.others.metadata(MODEL))
    assert metadata == httpx.get(url).json()
    configuration = ask(stack, lambda backend: backend.others.configuration(MODEL))
    expected = httpx.get(f"{url}/config").json()
    assert {key: configuration[key] for key in expected} == expected
    statistics = ask(stack, lambda backend: backend.others.statistics(MODEL))
    assert statistics["model_stats"][0]["name"] == MODEL.name


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("model", [ModelVersion("none"), ModelVersion(MODEL.name, "7")])
def test_a_model_or_version_that_is_not_there_is_not_found(stack: Stack, model: ModelVersion, *, pooled: bool) -> None:
    with pytest.raises(ModelNotFound):
        ask(stack, lambda backend: backend.others.metadata(model), pooled=pooled)
    with pytest.raises(ModelNotFound):
        ask(stack, lambda backend: backend.others.infer(inference(model)), pooled=pooled)
    assert not ask(stack, lambda backend: backend.others.is_ready(model), pooled=pooled)
    assert ask(stack, lambda backend: backend.others.is_ready(MODEL), pooled=pooled)


def test_what_is_the_clients_fault_is_told_in_tritons_words(stack: Stack) -> None:
    fewer = Inference(MODEL, "", {}, [Tensor("output_ids", "INT32", (1, 0), b"")])
    with pytest.raises(InvalidRequest, match="expected"):
        ask(stack, lambda backend: backend.others.infer(fewer))
