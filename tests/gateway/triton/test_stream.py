"""The one stream to Triton: rows, channels, and whom a failure on it concerns."""

from __future__ import annotations

import asyncio

import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.answers.backend import Delta, EngineLost, PromptText
from tests.gateway.scripted_triton import ScriptedTriton, addressed, connected, failure, generation, read, response
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, to_wire
from triton_repo.contract.tensors import RENEW, SUBSCRIBE


@pytest.mark.asyncio
async def test_deltas_are_read_whatever_the_order_of_the_outputs() -> None:
    triton = ScriptedTriton((response("Hé"), response("", "length", order=(2, 0, 1))))
    async with connected(triton) as backend:
        assert await read(backend) == [Delta("Hé", "", 3, -1, 2), Delta("", "length", 3, -1, 2)]


@pytest.mark.asyncio
async def test_requests_that_wait_together_are_rows_of_one_message_and_fail_together() -> None:
    triton = ScriptedTriton((failure("Stub process is not healthy"),))
    async with connected(triton) as backend:
        asked = [backend.generate(generation(request_id=name)) for name in ("a", "b", "c")]
        answers = await asyncio.gather(*map(anext, asked), return_exceptions=True)
        subscription, request = triton.asked
    assert SUBSCRIBE in subscription.parameters
    assert [list(tensor.shape) for tensor in request.inputs] == [[3, 1], [3, 1], [3, 1]]
    assert [type(answer) for answer in answers] == [EngineLost] * 3


@pytest.mark.asyncio
async def test_a_stop_that_is_refused_is_no_failure_of_the_rows_beside_it() -> None:
    triton = ScriptedTriton()
    async with connected(triton) as backend:
        asked = [backend.generate(generation(request_id=name)) for name in ("a", "b")]
        waiting = [asyncio.ensure_future(anext(deltas)) for deltas in asked]
        while len(triton.asked) < 2:
            await asyncio.sleep(0.01)
        triton.responses = (response("c", "stop"),)
        triton.say_first = failure("the server is stopping")
        triton.say_first.infer_response.id = "a"  # as a stop of the first row has it
        assert [delta.text for delta in await read(backend)] == ["c"]
        assert not any(one.done() for one in waiting)
        for one in waiting:
            one.cancel()


@pytest.mark.asyncio
async def test_a_prompt_that_cannot_be_packed_is_its_own_trouble() -> None:
    async with connected(ScriptedTriton((response("a", "stop"),))) as backend:
        good, bad = backend.generate(generation()), backend.generate(generation(PromptText("\ud800"), "bad"))
        answers = await asyncio.gather(anext(good), anext(bad), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Delta, UnicodeEncodeError]


@pytest.mark.asyncio
async def test_requests_ride_on_one_channel_that_is_opened_first_and_ended_last() -> None:
    triton = ScriptedTriton((response("a", "stop"),))
    async with connected(triton) as backend:
        for _ in range(2):
            await read(backend)
    subscription, first, second, end = triton.asked
    assert subscription.parameters["subscribe"].bool_param
    assert {request.parameters["channel"].string_param for request in (first, second)} == {subscription.id}
    assert (end.model_name, end.id, [tensor.name for tensor in end.inputs]) == (
        "demo_engine",
        subscription.id,
        ["stop"],
    )


@pytest.mark.asyncio
async def test_a_channel_that_fails_fails_who_waits_on_it_and_the_next_request_opens_another() -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        deltas = backend.generate(generation(request_id="rider"))
        await anext(deltas)
        channel = triton.asked[0].id
        triton.responses = ()
        triton.say_first = failure("in ensemble 'demo', boom")
        triton.say_first.infer_response.id = channel
        other = asyncio.ensure_future(read(backend))
        with pytest.raises(EngineUnavailable, match="channel broke off"):
            await anext(deltas)
        with pytest.raises(EngineUnavailable, match="channel broke off"):
            await other
        triton.responses = (response("b", "stop"),)
        assert [delta.text for delta in await read(backend)] == ["b"]
    assert len([request for request in triton.asked if SUBSCRIBE in request.parameters]) == 2


@pytest.mark.asyncio
async def test_after_the_end_of_its_channel_the_next_request_opens_another() -> None:
    triton = ScriptedTriton((response("a", "stop"),))
    async with connected(triton) as backend:
        await read(backend)
        rider = asyncio.ensure_future(anext(backend.generate(generation(request_id="rider"))))
        await asyncio.sleep(0)
        triton.say_first = pb.ModelStreamInferResponse()
        triton.say_first.infer_response.id = triton.asked[0].id
        triton.responses = ()
        with pytest.raises(EngineUnavailable, match="channel has ended"):
            await rider
        triton.responses = (response("a", "stop"),)
        await read(backend)
    names = [request.id for request in triton.asked if SUBSCRIBE in request.parameters]
    assert len(set(names)) == 2


@pytest.mark.asyncio
async def test_a_channel_in_use_is_renewed_past_the_ensemble_and_a_failed_renewal_is_no_end() -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        deltas = backend.generate(generation())
        await anext(deltas)
        triton.responses = (failure("the model is being unloaded"),)
        triton.answers_renewals = True
        while RENEW not in triton.asked[-1].parameters:
            await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        renewal = triton.asked[-1]
        await backend.close()
        with pytest.raises(EngineUnavailable):
            await waiting
    assert (renewal.model_name, renewal.id) == ("demo_engine", f"renew:{triton.asked[0].id}")
    assert renewal.parameters["renew"].string_param == triton.asked[0].id


@pytest.mark.asyncio
async def test_a_stream_that_breaks_off_is_an_error() -> None:
    triton = ScriptedTriton((response("a"),))
    triton.breaks_off = True
    async with connected(triton) as backend:
        for _ in range(2):  # the next request opens a new stream
            with pytest.raises(EngineUnavailable, match="broke off"):
                await read(backend)


@pytest.mark.asyncio
async def test_a_reader_who_takes_his_time_holds_nobody_up_and_each_gets_his_own() -> None:
    async with connected(ScriptedTriton((response("a"), response("b", "stop")))) as backend:
        slow = backend.generate(generation(request_id="slow"))
        assert (await anext(slow)).text == "a"
        fast = [delta.text async for delta in backend.generate(generation(request_id="fast"))]
        assert fast == ["a", "b"]
        assert [delta.text async for delta in slow] == ["b"]


@pytest.mark.asyncio
async def test_a_malformed_response_ends_its_own_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        good = backend.generate(generation(request_id="good"))
        assert (await anext(good)).text == "a"
        malformed = response("x")
        del malformed.infer_response.outputs[-1]
        triton.responses = (malformed,)
        with pytest.raises(EngineFailed, match=r"^the engine failed$"):
            await anext(backend.generate(generation(request_id="bad")))
        triton.responses = (response("b", "stop"),)
        assert [delta.text for delta in await read(backend)] == ["b"]
        triton.say_first = addressed(response("rest", "stop"), "good")
        await read(backend)
        assert [delta.text async for delta in good] == ["rest"]
    assert "malformed response to request bad" in caplog.text


@pytest.mark.asyncio
async def test_a_malformed_response_on_a_channel_ends_the_requests_of_that_channel() -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        rider = backend.generate(generation(request_id="rider"))
        await anext(rider)
        channel = triton.asked[0].id
        malformed = response("x")
        malformed.infer_response.id = channel
        del malformed.infer_response.raw_output_contents[-1]
        triton.say_first, triton.responses = malformed, ()
        other = asyncio.ensure_future(read(backend))
        for waiting in (anext(rider), other):
            with pytest.raises(EngineFailed):
                await waiting
        triton.responses = (response("b", "stop"),)
        assert [delta.text for delta in await read(backend)] == ["b"]
    opened = [request.id for request in triton.asked if SUBSCRIBE in request.parameters]
    ended = [request.id for request in triton.asked if request.model_name == "demo_engine"]
    assert len(opened) == 2
    assert channel in ended, "the engine is told, so that it does not work on for a channel that is not read"


@pytest.mark.asyncio
async def test_a_client_that_reads_too_slowly_takes_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.triton.stream.MAX_WAITING", 100)
    triton = ScriptedTriton((*[response("x" * 10)] * 50, response("", "stop")))
    async with connected(triton) as backend:
        slow = backend.generate(generation(request_id="slow"))
        await anext(slow)
        while not any(request.model_name == "demo_engine" for request in triton.asked):
            await asyncio.sleep(0.01)
        with pytest.raises(EngineUnavailable, match="too slowly"):
            await anext(slow)
        triton.responses = (*[response("y" * 60)] * 3, response("", "stop"))
        fast = backend.generate(generation(request_id="fast"))
        assert [len(delta.text) async for delta in fast] == [60, 60, 60, 0], "what is read no longer waits"


@pytest.mark.asyncio
async def test_all_that_read_too_slowly_together_take_a_bounded_amount_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.triton.stream.MAX_ALL_WAITING", 500)
    triton = ScriptedTriton((response("x" * 10), *[response("x" * 60)] * 4))
    async with connected(triton) as backend:
        slow = [backend.generate(generation(request_id=f"slow {number}")) for number in range(3)]
        for deltas in slow:
            assert len((await anext(deltas)).text) == 10
        while not any(request.model_name == "demo_engine" for request in triton.asked):
            await asyncio.sleep(0.01)
        ended = []
        for deltas in slow:
            try:
                ended.append([len((await anext(deltas)).text) for _ in range(4)])
            except EngineUnavailable as error:
                ended.append(str(error))  # type: ignore[arg-type]
        assert sorted(map(str, ended)) == ["[60, 60, 60, 60]"] * 2 + ["the client reads its stream too slowly"]


@pytest.mark.asyncio
async def test_an_engine_that_fails_a_channel_tells_the_requests_on_it_why() -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        deltas = backend.generate(generation(request_id="rider"))
        await anext(deltas)
        triton.responses = ()
        triton.say_first = failure(to_wire(EngineFailed("the engine has made no progress for 130 s")))
        triton.say_first.infer_response.id = triton.asked[0].id
        other = asyncio.ensure_future(read(backend))
        for waiting in (anext(deltas), other):
            with pytest.raises(EngineFailed, match="no progress for 130 s"):
                await waiting
