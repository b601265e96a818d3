"""What the comparison of settings measures with, on the demo engine."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from random import Random

import pytest
from pydantic import BaseModel
from rich.console import Console

from bench.bars.engines import ENGINES
from bench.choices.__main__ import main
from bench.choices.choice import Choice, Side, choices
from bench.choices.loads import copying, decode, long_prompts_arrive, same_system_prompt
from bench.choices.pair import compare
from bench.choices.view import table
from bench.choices.wave import Ask, Driver, Work
from build_scripts.build import ensure_engine
from build_scripts.spec.engine_spec import BuildSection, ServeSection
from build_scripts.spec.reading import read_spec
from build_scripts.spec.speculative import SpeculativeSection
from triton_repo.contract.engine_config import EngineConfig

PROMPT = [300 + number for number in range(24)]


@pytest.fixture(scope="module")
def built() -> Path:
    return ensure_engine("demo").directory.parent


@pytest.fixture(scope="module")
def driver(built: Path) -> Driver:
    return Driver(built / "demo", {})


def test_a_wave_counts_every_token_and_the_time_between_two(driver: Driver) -> None:
    wave = driver.wave(Work([Ask(PROMPT, 5), Ask(PROMPT[1:], 7)]))
    assert wave.tokens == 12
    assert wave.arrivals == 12
    assert len(wave.ttft_s) == 2
    assert len(wave.gaps_s) == 4 + 6
    assert 0 < min(wave.ttft_s) <= max(wave.ttft_s) < wave.elapsed_s


def test_what_runs_beside_a_wave_comes_one_by_one_and_ends_with_it(driver: Driver) -> None:
    wave = driver.wave(Work([Ask(PROMPT, 12)], [Ask(PROMPT, 2)] * 50))
    assert len(wave.gaps_s) == 11
    assert 2 <= len(wave.ttft_s) < 50
    again = driver.wave(Work([Ask(PROMPT, 3)]))
    assert again.tokens == 3, "nothing of the first wave is left"


def test_a_wave_without_an_answer_has_no_gap(driver: Driver) -> None:
    wave = driver.wave(Work([Ask(PROMPT, 1)]))
    assert wave.gap_p99_ms is None
    assert wave.ttft_ms is not None


def test_answers_are_the_models_own(built: Path, driver: Driver) -> None:
    lookup = {"mode": "prompt_lookup", "num_assistant_tokens": 5, "max_ngram_size": 3}
    assert driver.answers([PROMPT, PROMPT[3:]], 9) == Driver(built / "demo", {"speculative": lookup}).answers(
        [PROMPT, PROMPT[3:]], 9
    )


def test_a_load_is_the_same_for_the_same_round_and_another_in_the_next() -> None:
    def answers(prompts: object, tokens: int) -> list[list[int]]:
        return [[7] * tokens, [8] * tokens]

    for load in (decode(2), copying(2), same_system_prompt(2), long_prompts_arrive(2)):
        first, again, next = (load(Random(number), answers) for number in (1, 1, 2))
        assert first == again != next
    chats = [ask for number in (1, 2) for ask in same_system_prompt(2)(Random(number), answers).asked]
    prefixes = {tuple(chat.prompt[:512]) for chat in chats}
    assert len(prefixes) == 1


def test_both_sides_are_told_with_the_ratio_of_the_rounds(built: Path) -> None:
    choice = Choice("batch", "build.max_batch_size", Side("16", "demo"), Side("1", "demo", {"max_batch_size": 1}), {
        "4 streams": decode(4),
    })  # fmt: skip
    (result,) = compare(choice, built, rounds=2)
    rate = result.figures["tokens_per_s"]
    assert rate.least <= rate.ratio <= rate.greatest
    assert {"tokens_per_s", "ttft_ms"} <= set(result.figures)
    assert result.to_json()["figures"]["tokens_per_s"]["usual"] == rate.usual
    text = io.StringIO()
    Console(width=200, file=text).print(table([result]))
    assert "build.max_batch_size 16 → 1 4 streams" in " ".join(text.getvalue().split())


def test_every_choice_names_a_key_of_a_spec_and_settings_of_an_engine() -> None:
    sections: dict[str, type[BaseModel]] = {
        "build": BuildSection,
        "serve": ServeSection,
        "speculative": SpeculativeSection,
    }
    for choice in choices():
        section, _, key = choice.setting.partition(".")
        assert key in sections[section].model_fields
        for side in (choice.usual, choice.other):
            assert read_spec(ENGINES / f"{side.engine}.toml").name == side.engine
            assert set(side.settings) <= set(EngineConfig.model_fields)


def test_choices_of_one_name_stand_together() -> None:
    names = [name for name, _ in itertools.groupby(choice.name for choice in choices())]
    assert len(names) == len(set(names))


def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--only", "colour"])
    assert refused.value.code == 2
    assert "threads" in capsys.readouterr().err
