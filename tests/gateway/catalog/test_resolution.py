"""What a name means: alone, as an alias, with a version, by a policy, with an adapter."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.arms import client_of, pick_arm
from gateway.catalog.resolution import resolve
from gateway.catalog.rules import Rules
from triton_repo.contract.steps import engine_name, engine_version

ENGINES = ("demo", "demo@2", "demo@10", "smollm2", "late@3")
RULES = Rules(
    aliases={
        "gpt-4o-mini": "smollm2",
        "llama3:8b": "demo@2",
        "french": "smollm2:fr",
        "both": {"demo": 1, "smollm2": 1},
    },
    versions={"smollm2": "latest"},
)


@pytest.mark.parametrize(
    ("requested", "engine", "version", "adapter"),
    [
        ("demo", "demo@10", 10, None),
        ("demo@1", "demo", 1, None),
        ("demo@2", "demo@2", 2, None),
        ("demo@3", "demo@3", 3, None),  # whose absence is then told
        ("demo@02", "demo@02", 1, None),
        ("late", "late@3", 3, None),
        ("gpt-4o-mini", "smollm2", 1, None),
        ("llama3:8b", "demo@2", 2, None),
        ("demo:fr", "demo@10", 10, "fr"),
        ("demo@2:fr", "demo@2", 2, "fr"),
        ("french", "smollm2", 1, "fr"),
        ("gpt-4o-mini:de", "smollm2", 1, "de"),
        ("nothing", "nothing", 1, None),
        ("", "", 1, None),
        ("a:b:c", "a:b:c", 1, None),
    ],
)
def test_a_name_means_one_engine(requested: str, engine: str, version: int, adapter: str | None) -> None:
    found = resolve(requested, RULES, ENGINES, "someone")
    assert (found.requested, found.engine, found.version, found.adapter) == (requested, engine, version, adapter)
    assert found.arm == ""


def test_the_name_of_a_model_comes_before_an_alias() -> None:
    rules = Rules(aliases={"demo": "smollm2"})
    assert resolve("demo", rules, ["demo", "smollm2"], "").engine == "demo"
    assert resolve("demo", rules, ["smollm2"], "").engine == "smollm2"


def test_a_certain_version_is_kept_when_a_later_one_comes() -> None:
    rules = Rules(versions={"demo": 2})
    assert resolve("demo", rules, ENGINES, "").engine == "demo@2"
    assert resolve("demo", rules, ["demo", "demo@10"], "").engine == "demo@2"


def test_a_split_has_the_shares_of_its_weights_and_every_client_keeps_its_arm() -> None:
    rules = Rules(versions={"demo": {1: 90, 2: 10}})
    found = {f"user {number}": resolve("demo", rules, ENGINES, f"user {number}") for number in range(10_000)}
    arms = Counter(one.arm for one in found.values())
    assert set(arms) == {"demo@1", "demo@2"}
    assert abs(arms["demo@2"] - 1000) < 5 * math.sqrt(10_000 * 0.9 * 0.1)
    for client, one in found.items():
        again = resolve("demo", rules, [*reversed(ENGINES)], client)
        assert (again.engine, again.version) == (one.engine, one.version)


def test_an_arm_that_goes_moves_its_own_clients_alone() -> None:
    rules = Rules(versions={"demo": {1: 50, 2: 30, 10: 20}})
    for number in range(1000):
        before = resolve("demo", rules, ENGINES, f"user {number}")
        after = resolve("demo", rules, ["demo", "demo@2"], f"user {number}")
        assert after == before or before.version == 10
        assert after.version != 10


def test_an_arm_without_weight_is_drawn_only_where_no_other_is_ready() -> None:
    rules = Rules(versions={"demo": {1: 0, 2: 1}})
    assert {resolve("demo", rules, ENGINES, f"{number}").version for number in range(200)} == {2}


def test_an_alias_can_be_split_over_models() -> None:
    found = [resolve("both", RULES, ENGINES, f"{number}") for number in range(200)]
    assert {(one.arm, one.engine) for one in found} == {("demo", "demo@10"), ("smollm2", "smollm2")}
    assert {resolve("both", RULES, ["smollm2"], f"{number}").engine for number in range(50)} == {"smollm2"}


@given(st.text(), st.text())
def test_any_text_has_a_meaning(requested: str, client: str) -> None:
    found = resolve(requested, RULES, ENGINES, client)
    assert found.requested == requested
    assert resolve(requested, RULES, ENGINES, client) == found


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True), st.integers(1, 999))
def test_names_of_engines_tell_name_and_version(name: str, version: int) -> None:
    assert engine_version(engine_name(name, version)) == (name, version)


def test_who_asks_is_the_user_of_the_body_then_the_key() -> None:
    assert client_of({"user": "a", "safety_identifier": "b"}, "key", "1") == "user b"
    assert client_of({"user": "a"}, "key", "1") == "user a"
    assert client_of({"metadata": {"user_id": "c"}}, "key", "1") == "user c"
    for fields in ({}, {"user": 7}, {"user": ""}, {"metadata": [1]}, {"metadata": {"user_id": None}}):
        assert client_of(fields, "nightly", "1") == "key nightly"
    assert client_of({}, "", "1") != client_of({}, "", "2")


def test_an_arm_is_the_same_in_every_process_and_version() -> None:
    arms = {"a": 1, "b": 1}
    assert [pick_arm("s", arms, f"user {number}") for number in range(8)] == list("aababaaa")
