"""Engines in Triton as the gateway sees them, against a gRPC server that answers as a test wrote down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.triton.backend import TritonBackend
from tests.conftest import free_port
from tests.gateway.scripted_backend import CARD
from tests.gateway.scripted_triton import ScriptedTriton, connected, failure, generation, listening, read, response
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, ModelNotFound, to_wire
from triton_repo.contract.health.engine_states import EngineStates, write_states
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.tensors import SUBSCRIBE


@pytest.mark.asyncio
async def test_an_error_of_ours_comes_out_as_it_went_in() -> None:
    text = f"in ensemble 'demo', {to_wire(InvalidRequest('too hot', 'temperature'))}"
    async with connected(ScriptedTriton((failure(text),))) as backend:
        with pytest.raises(InvalidRequest, match=r"^too hot$") as caught:
            await read(backend)
    assert caught.value.param == "temperature"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("in ensemble 'demo', Failed to open shm region triton_python_backend_shm_region_1", EngineFailed),
        ("Request for unknown model: 'demo' is not found", ModelNotFound),
        ("in ensemble 'demo', Exceeds maximum queue size", EngineUnavailable),
        ("Failed to increase the shared memory pool size for key 'conch_1' to 9 bytes", EngineUnavailable),
        ("Server is stopping, scheduler for model has stopped accepting new inference requests", EngineUnavailable),
    ],
)
async def test_tritons_own_words_stay_inside(text: str, kind: type[Exception]) -> None:
    async with connected(ScriptedTriton((response("a"), failure(text)))) as backend:
        with pytest.raises(kind, match=r"^the engine (failed|is not ready)$|^model 'demo' does not exist"):
            await read(backend)


@pytest.mark.asyncio
async def test_closing_the_backend_ends_a_stream_that_waits() -> None:
    triton = ScriptedTriton((response("a"),))
    triton.hangs = True
    async with connected(triton) as backend:
        deltas = backend.generate(generation())
        assert (await anext(deltas)).text == "a"
        waiting = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0)
        await backend.close()
        with pytest.raises(EngineUnavailable, match="shutting down"):
            await waiting


@pytest.mark.asyncio
async def test_a_cancel_goes_to_the_engine_step_with_the_id_of_the_request() -> None:
    triton = ScriptedTriton()
    async with connected(triton) as backend:
        backend.cancel(generation())
        while not triton.asked:
            await asyncio.sleep(0.01)
    (request,) = triton.asked
    assert (request.model_name, request.id) == ("demo_engine", "id-1")
    assert ([tensor.name for tensor in request.inputs], list(request.raw_input_contents)) == (["stop"], [b"\1"])
    assert not request.parameters, "no empty final response: nobody waits for one"


@pytest.mark.asyncio
async def test_only_ensembles_with_a_card_are_models() -> None:
    triton = ScriptedTriton(configs={"demo": CARD.to_json(), "demo_engine": None, "older": "{}", "broken": "{"})
    async with connected(triton) as backend:
        assert await backend.models() == {"demo": CARD}
        await backend.ready()


@pytest.mark.asyncio
async def test_unknown_names_do_not_flood_triton_with_questions() -> None:
    triton = ScriptedTriton(configs={"demo": CARD.to_json()})
    async with connected(triton) as backend:
        for number in range(20):
            with pytest.raises(ModelNotFound):
                await backend.card(f"other{number}")
        assert await backend.card("demo") == CARD
    assert triton.num_indexed == 1


@pytest.mark.asyncio
async def test_a_triton_without_models_is_not_ready() -> None:
    async with connected(ScriptedTriton()) as backend:
        with pytest.raises(EngineUnavailable, match="no model is ready"):
            await backend.ready()


@pytest.mark.asyncio
async def test_a_triton_that_is_not_there_is_unavailable() -> None:
    backend = TritonBackend("127.0.0.1:1")
    try:
        backend.cancel(generation())
        for attempt in (backend.ready(), read(backend)):
            with pytest.raises(EngineUnavailable, match="cannot be reached"):
                await attempt
    finally:
        await backend.close()


@pytest.mark.asyncio
async def test_a_model_that_is_unloaded_is_forgotten() -> None:
    triton = ScriptedTriton((failure("Request for unknown model: 'demo' is not found"),), {"demo": CARD.to_json()})
    async with connected(triton) as backend:
        assert await backend.card("demo") == CARD
        triton.configs = {}
        for _ in range(2):
            with pytest.raises(ModelNotFound):
                await read(backend)
            await asyncio.sleep(1.1)  # cards are read once a second at most
        with pytest.raises(ModelNotFound):
            await backend.card("demo")


@pytest.mark.asyncio
async def test_a_card_that_has_changed_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.triton.cards._MIN_INTERVAL_S", 0)
    monkeypatch.setattr("gateway.triton.cards._FRESH_S", 0)
    triton = ScriptedTriton(configs={"demo": CARD.to_json()})
    async with connected(triton) as backend:
        assert await backend.card("demo") == CARD
        rebuilt = replace(CARD, max_seq_len=64)
        triton.configs = {"demo": rebuilt.to_json()}
        while await backend.card("demo") != rebuilt:
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_an_engine_that_rejects_renewals_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    triton = ScriptedTriton((response("a"),), {"demo": CARD.to_json()})
    async with connected(triton) as backend:
        deltas = backend.generate(generation())
        await anext(deltas)
        await backend.ready()
        triton.responses = (failure(to_wire(EngineUnavailable("the engine has made no progress for 12 s"))),)
        triton.answers_renewals = True
        while not caplog.records:
            await asyncio.sleep(0.05)
        with pytest.raises(EngineUnavailable, match="no progress: demo"):
            await backend.ready()
    assert "no progress for 12 s" in caplog.text


@pytest.mark.asyncio
async def test_an_engine_that_is_said_to_hang_is_not_ready_and_rejects_requests_at_once(tmp_path: Path) -> None:
    triton, file = ScriptedTriton((response("a"),), {"demo": CARD.to_json(), "other": CARD.to_json()}), tmp_path / "f"
    async with connected(triton, file) as backend:
        write_states(file, EngineStates({"demo": "demo_engine does not respond"}))
        with pytest.raises(EngineUnavailable, match=r"^demo_engine does not respond$"):
            await read(backend)
        assert not triton.asked
        await backend.ready()  # the other engine is
        both = {"demo": "demo_engine does not respond", "other": "other_engine does not respond"}
        write_states(file, EngineStates(both))
        await asyncio.sleep(0.2)  # the file is read ten times a second at most
        with pytest.raises(EngineUnavailable, match=r"^demo_engine does not respond; other_engine does not respond$"):
            await backend.ready()
        write_states(file, EngineStates())
        await asyncio.sleep(0.2)
        await backend.ready()


@pytest.mark.asyncio
async def test_a_triton_that_does_not_answer_is_soon_said_to_be_not_ready() -> None:
    triton = ScriptedTriton(configs={"demo": CARD.to_json()})
    triton.is_silent = True
    async with connected(triton) as backend:
        with pytest.raises(EngineUnavailable, match="Triton does not respond"):
            await backend.ready()


@pytest.mark.asyncio
async def test_the_requests_of_a_lost_engine_end_and_its_next_one_asks_for_another_channel(tmp_path: Path) -> None:
    triton, file = ScriptedTriton((response("a"),), {"demo": CARD.to_json()}), tmp_path / "f"
    async with connected(triton, file) as backend:
        deltas = backend.generate(generation())
        assert (await anext(deltas)).text == "a"
        write_states(file, EngineStates(lost={"demo": 1, "other": 1}))
        with pytest.raises(EngineUnavailable, match=r"^the engine was lost$"):
            await anext(deltas)
        again = backend.generate(generation(request_id="id-2"))
        assert (await anext(again)).text == "a"
        assert [SUBSCRIBE in request.parameters for request in triton.asked] == [True, False, True, False]


@pytest.mark.asyncio
async def test_a_loss_before_the_first_request_of_a_process_ends_no_request(tmp_path: Path) -> None:
    triton, file = ScriptedTriton((response("a"),), {"demo": CARD.to_json()}), tmp_path / "f"
    async with connected(triton, file) as backend:
        write_states(file, EngineStates(lost={"demo": 1}))
        deltas = backend.generate(generation())
        assert (await anext(deltas)).text == "a"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(deltas), 0.4)  # the states are read every 0.1 s


@pytest.mark.asyncio
async def test_a_triton_that_is_down_is_logged_once_until_it_has_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.triton.cards._MIN_INTERVAL_S", 0)
    port = free_port()
    backend = TritonBackend(f"127.0.0.1:{port}")

    async def down(times: int) -> None:
        for _ in range(times):
            with pytest.raises(EngineUnavailable):
                await backend.models()

    try:
        await down(3)
        async with listening(ScriptedTriton((), {"demo": CARD.to_json()}), port):
            async with asyncio.timeout(120):
                while "demo" not in await _models_or_none(backend):
                    await asyncio.sleep(0.1)
        await down(3)
    finally:
        await backend.close()
    assert len([record for record in caplog.records if record.name == "gateway.triton.errors"]) == 2


async def _models_or_none(backend: TritonBackend) -> Mapping[str, ModelCard]:
    try:
        return await backend.models()
    except EngineUnavailable:
        return {}
