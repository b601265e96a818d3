"""Each reader of outside bytes on some hundred inputs; `make soak` gives each a hundred thousand."""

from __future__ import annotations

import logging
import random
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import targets
from tests.fuzz.inputs import drawn, generated
from tests.fuzz.target import Target

NUM_EXAMPLES = 30
NUM_GENERATED = 100
TARGETS = {target.name: target for target in targets.all_targets()}

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries, about what they read


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_read_or_rejected_with_an_error_of_our_own(name: str) -> None:
    target = TARGETS[name]
    logging.disable()  # a rejected row is logged

    @settings(max_examples=NUM_EXAMPLES, suppress_health_check=[*HealthCheck])
    @given(drawn(target))
    def read(data: bytes) -> None:
        target.run(data)

    try:
        for seed in target.seeds:
            target.run(seed)
        read()
        chance = random.Random(name)
        for _ in range(NUM_GENERATED):
            target.run(generated(target, chance))
    finally:
        logging.disable(logging.NOTSET)


def test_a_reader_that_fails_on_one_input_is_found() -> None:
    def planted(data: bytes) -> None:
        if b'"prompt": [[1, 2], [3]]' not in data and b"-1" in data:
            raise ZeroDivisionError

    target = Target("planted", planted, TARGETS["completion_body"].seeds, is_json=True)
    chance = random.Random(1)
    inputs = [generated(target, chance) for _ in range(1000)]
    with pytest.raises(ZeroDivisionError):
        deque(map(target.run, inputs), maxlen=0)
