"""Models beside the engines, through /v2 of a real stack: sequences, decoupled ones, their metrics and their traces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from launch.doctor.server import check_triton, running_server
from tests.conftest import Stack, serving
from tests.gateway.metrics.tracing.receiver import receiver
from tests.operate.sequences import write_repository
from tests.waiting import wait_for

pytestmark = pytest.mark.operate

ALICE, BOB = "sk-alice-1", "sk-bob-2"
IDS: list[tuple[str, int | str]] = [("numbered", 7), ("named", "talk"), ("around", 8)]
PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def received() -> Iterator[tuple[str, list[Any]]]:
    with receiver() as scopes:
        yield scopes


@pytest.fixture(scope="module")
def stack(received: tuple[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("sequences")
    keys = directory / "keys"
    lines = [f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n" for name, key in (("alice", ALICE), ("bob", BOB))]
    keys.write_text("".join(lines), encoding="utf-8")
    keys.chmod(0o600)
    models = write_repository(directory / "models")
    flags = ("--model-repository", str(models), "--api-keys-file", str(keys), "--otlp-endpoint", received[0])
    with serving("replay", *flags, log=directory / "serve.log") as running:
        yield running


def infer(stack: Stack, model: str, add: int, key: str = ALICE, headers: Any = None, **parameters: Any) -> Any:
    tensor = {"name": "add", "datatype": "INT32", "shape": [1, 1], "data": [add]}
    body = {"inputs": [tensor], "parameters": parameters}
    return httpx.post(
        f"{stack.gateway}/v2/models/{model}/infer",
        json=body,
        headers={"authorization": f"Bearer {key}", **(headers or {})},
    )


def total(answer: httpx.Response) -> tuple[int, int | str]:
    """The sum so far, and under which id the model keeps it."""
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
    return outputs["total"], outputs["id"]


def in_sequence(stack: Stack, model: str, id: int | str, numbers: list[int], key: str = ALICE) -> list[Any]:
    last = len(numbers) - 1
    return [
        total(infer(stack, model, add, key, sequence_id=id, sequence_start=at == 0, sequence_end=at == last))
        for at, add in enumerate(numbers)
    ]


@pytest.mark.parametrize(("model", "id"), IDS)
def test_a_sequence_is_one_from_its_start_to_its_end(stack: Stack, model: str, id: int | str) -> None:
    totals = in_sequence(stack, model, id, [1, 20, 300])
    assert [sum for sum, _ in totals] == [1, 21, 321]
    ((kept,),) = [{id for _, id in totals}]
    assert kept not in (id, 0, ""), "the id is the key's own"
    late = infer(stack, model, 1, sequence_id=id)
    assert late.status_code == 400, late.text
    assert "START" in late.json()["error"] or "start" in late.json()["error"]


@pytest.mark.parametrize(("model", "id"), IDS)
def test_two_keys_with_the_same_id_have_sequences_of_their_own(stack: Stack, model: str, id: int | str) -> None:
    alices, bobs = ([], [])  # type: tuple[list[Any], list[Any]]
    for at, (one, other) in enumerate([(1, 1000), (2, 2000), (3, 3000)]):
        bounds = {"sequence_start": at == 0, "sequence_end": at == 2}
        alices.append(total(infer(stack, model, one, ALICE, sequence_id=id, **bounds)))
        bobs.append(total(infer(stack, model, other, BOB, sequence_id=id, **bounds)))
    assert [sum for sum, _ in alices] == [1, 3, 6]
    assert [sum for sum, _ in bobs] == [1000, 3000, 6000]
    assert {id for _, id in alices}.isdisjoint({id for _, id in bobs})


def test_many_sequences_at_once_are_kept_apart(stack: Stack) -> None:
    numbers = [[n, n + 1, n * 10, 5] for n in range(12)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda n: in_sequence(stack, "numbered", 100 + n, numbers[n]), range(12)))
    assert [[sum for sum, _ in totals] for totals in answers] == [[*accumulate(each)] for each in numbers]


@pytest.mark.parametrize(("model", "id"), [("numbered", "talk"), ("named", 7), ("around", "talk")])
def test_an_id_that_would_end_triton_is_rejected(stack: Stack, model: str, id: int | str) -> None:
    answer = infer(stack, model, 1, sequence_id=id, sequence_start=True)
    assert (answer.status_code, "parameters.sequence_id: must be" in answer.text) == (400, True), answer.text
    assert httpx.get(f"{stack.gateway}/v2/health/ready").status_code == 200


def test_what_v2_cannot_do_is_rejected_in_a_sentence(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {ALICE}"}
    tensor = {"name": "count", "datatype": "INT32", "shape": [1], "data": [3]}
    decoupled = httpx.post(f"{stack.gateway}/v2/models/words/infer", json={"inputs": [tensor]}, headers=headers)
    assert decoupled.status_code == 400, decoupled.text
    assert "decoupled" in decoupled.json()["error"]
    for end in ("generate", "generate_stream", "versions/1/generate"):
        answer = httpx.post(f"{stack.gateway}/v2/models/numbered/{end}", json={"add": 1}, headers=headers)
        assert answer.status_code == 404
        assert answer.json()["error"].startswith("models beside the engines are asked with /v2/models/numbered/infer")
    unknown = httpx.post(f"{stack.gateway}/v2/models/none/generate", json={}, headers=headers)
    assert unknown.status_code == 404


def test_they_are_counted_by_model_and_no_client_makes_up_a_series(stack: Stack) -> None:
    def samples() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(httpx.get(f"{stack.gateway}/metrics").text)
        wanted = ("conch_requests_total", "conch_requests_rejected_total", "conch_request_duration_seconds_count")
        return {
            (sample.name, *(sample.labels.get(name, "") for name in ("model", "version", "status", "reason"))): value
            for family in families
            for sample in family.samples
            if sample.name in wanted
            for value in [sample.value]
        }

    before = samples()
    total(infer(stack, "numbered", 1, sequence_id=55, sequence_start=True, sequence_end=True))
    headers = {"authorization": f"Bearer {ALICE}"}
    for path in ("made-up/infer", "numbered/versions/77/infer", "numbered/versions/78/infer"):
        assert httpx.post(f"{stack.gateway}/v2/models/{path}", json={"inputs": []}, headers=headers).status_code >= 400
    after = samples()
    grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
    assert grown["conch_requests_total", "numbered", "1", "2xx", ""] == 1
    assert grown["conch_request_duration_seconds_count", "numbered", "1", "", ""] == 1
    assert grown["conch_requests_total", "", "", "4xx", ""] == 1
    assert grown["conch_requests_total", "numbered", "", "4xx", ""] == 2
    assert {key[1:3] for key in after} <= {
        ("", ""),
        ("numbered", ""),
        ("numbered", "1"),
        *((name, version) for name in ("named", "around", "words", "replay") for version in ("", "1")),
    }
    assert 'conch_engine_up{model="numbered"}' not in httpx.get(f"{stack.gateway}/metrics").text


def test_tritons_own_spans_of_a_traced_request_are_below_the_gateways(
    stack: Stack, received: tuple[str, list[Any]]
) -> None:
    trace = f"{77:032x}"
    headers = {"traceparent": f"00-{trace}-{PARENT}-01"}
    total(infer(stack, "numbered", 1, headers=headers, sequence_id=9, sequence_start=True, sequence_end=True))

    def spans() -> dict[str, Any]:
        scopes = list(received[1])
        return {span.name: span for scope in scopes for span in scope.spans if span.trace_id.hex() == trace}

    wait_for(lambda: {"infer numbered", "InferRequest", "numbered", "compute"} <= set(spans()), lambda: str(spans()))
    found = spans()
    assert found["infer numbered"].parent_span_id.hex() == PARENT
    for child, parent in (("InferRequest", "infer numbered"), ("numbered", "InferRequest"), ("compute", "numbered")):
        assert found[child].parent_span_id == found[parent].span_id


def test_the_gateway_tells_which_triton_runs_and_the_doctor_reads_it(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {ALICE}"}
    told = httpx.get(f"{stack.gateway}/version", headers=headers).json()["triton"]
    running = running_server(int(stack.gateway.rpartition(":")[2]), ALICE)
    assert running is not None
    assert running.triton == told
    assert check_triton(told).severity == "ok"
