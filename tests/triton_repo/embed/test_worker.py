"""The threads that compute, with a function in place of the encoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import numpy as np
import pytest

from triton_repo.contract.errors import EngineFailed, EngineUnavailable, RequestError
from triton_repo.embed.activation import activate
from triton_repo.embed.schedule import Floats
from triton_repo.embed.settings import Activation
from triton_repo.embed.texts import Tokens
from triton_repo.embed.worker import MAX_WAITING_ROWS, Worker

WAIT_S = 60


def tokens(*lengths: int) -> list[Tokens]:
    return [Tokens([7] * length, [0] * length) for length in lengths]


def lengths_of(rows: Sequence[Tokens]) -> Floats:
    """Fails for rows of 13 tokens."""
    if any(len(row.ids) == 13 for row in rows):
        raise ValueError("13")
    return np.array([[len(row.ids)] for row in rows], dtype=np.float32)


class Gate:
    """An encoder that computes only while it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Semaphore(0)

    def __call__(self, rows: Sequence[Tokens]) -> Floats:
        self.reached.release()
        assert self.open.wait(WAIT_S)
        return lengths_of(rows)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker([lengths_of, lengths_of], max_rows=4, max_tokens=16)
    yield made
    made.close()


def ask(worker: Worker, *lengths: int) -> SimpleQueue[Floats | RequestError]:
    answers: SimpleQueue[Floats | RequestError] = SimpleQueue()
    worker.submit(tokens(*lengths), answers.put)
    return answers


def test_the_rows_of_a_request_come_back_in_their_order(worker: Worker) -> None:
    sizes = [3, 9, 1, 30, 2, 2, 8, 5, 1, 16]
    answer = ask(worker, *sizes).get(timeout=WAIT_S)
    assert isinstance(answer, np.ndarray)
    assert answer[:, 0].tolist() == sizes


def test_a_computation_that_fails_fails_its_requests_and_no_others(worker: Worker) -> None:
    bad, good = ask(worker, 13, 1), ask(worker, 40)
    assert isinstance(bad.get(timeout=WAIT_S), EngineFailed)
    assert isinstance(good.get(timeout=WAIT_S), np.ndarray)
    assert bad.empty()  # it is answered once


def test_what_waits_at_the_end_is_answered_with_an_error() -> None:
    gate = Gate()
    worker = Worker([gate], max_rows=1, max_tokens=1)
    running = ask(worker, 5)
    assert gate.reached.acquire(timeout=WAIT_S)
    waiting = ask(worker, 5)
    assert worker.age_s() > 0
    closing = threading.Thread(target=worker.close)
    closing.start()
    gate.open.set()
    closing.join(WAIT_S)
    assert isinstance(running.get(timeout=WAIT_S), np.ndarray)
    assert isinstance(waiting.get(timeout=WAIT_S), EngineUnavailable)
    with pytest.raises(EngineUnavailable):
        ask(worker, 5)
    assert worker.age_s() == 0


def test_a_request_of_a_client_that_left_is_not_computed() -> None:
    gate = Gate()
    worker = Worker([gate], max_rows=1, max_tokens=1)
    ask(worker, 5)
    assert gate.reached.acquire(timeout=WAIT_S)
    answers: SimpleQueue[Floats | RequestError] = SimpleQueue()
    worker.submit(tokens(*[5] * 1000), answers.put, lambda: True)
    gate.open.set()
    assert isinstance(answers.get(timeout=WAIT_S), EngineUnavailable)
    worker.close()


def test_more_rows_than_may_wait_are_rejected() -> None:
    gate = Gate()
    worker = Worker([gate], max_rows=1, max_tokens=1)
    ask(worker, *[1] * 2)
    with pytest.raises(EngineUnavailable, match="wait already"):
        ask(worker, *[1] * (MAX_WAITING_ROWS + 1))
    gate.open.set()
    worker.close()


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", [[-100, 0], [1, 100]]),
        ("sigmoid", [[0, 0.5], [0.7310586, 1]]),
        ("softmax", [[0, 1], [0, 1]]),
    ],
)
def test_large_numbers_overflow_in_no_activation(activation: Activation, expected: list[list[float]]) -> None:
    numbers = np.array([[-100, 0], [1, 100]], dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert np.allclose(activate(numbers, activation), expected, atol=1e-6)
