"""The rules of an operator: read whole or rejected with one sentence, and read again when their file changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gateway.catalog.rules import Rules, read_rules
from gateway.catalog.rules_file import RulesFile
from triton_repo.contract.errors import LaunchError

WHOLE = """
[aliases]
gpt-4o-mini = "smollm2"
"org/llama3:8b" = "demo@2"
chat = { demo = 90, "smollm2@2" = 10 }

[versions]
demo = "latest"
smollm2 = 2
other = { 1 = 90, 2 = 10 }
"""


def test_a_file_says_aliases_versions_and_splits(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(WHOLE, encoding="utf-8")
    assert read_rules(file, ["gpt-4=demo"]) == Rules(
        aliases={
            "gpt-4": "demo",
            "gpt-4o-mini": "smollm2",
            "org/llama3:8b": "demo@2",
            "chat": {"demo": 90, "smollm2@2": 10},
        },
        versions={"demo": "latest", "smollm2": 2, "other": {1: 90, 2: 10}},
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[alias]\n", "alias: unknown key; allowed: aliases, versions"),
        ("aliases = 1\n", "aliases = 1: must be a table"),
        ("[aliases\n", "not valid TOML: "),
        ("a = 'é".encode("latin-1").decode("latin-1"), "not valid TOML: "),
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("[aliases]\na = 1\n", "aliases.a = 1: must be NAME, NAME@VERSION or NAME:ADAPTER, or a table of weights"),
        ("[aliases]\na = 'b c'\n", "aliases.a = 'b c': must be NAME, "),
        ("[aliases]\n'a b' = 'c'\n", "aliases.a b: an alias must match "),
        ("[aliases]\na = 'b'\nb = 'c'\n", "aliases: a = b: is an alias itself; must be the name of a model"),
        ("[aliases]\na = 'a'\n", "aliases: a = a: is an alias itself"),
        ("[aliases]\ngiven = 'a'\n", "aliases.given: is given by --alias too"),
        ("[aliases]\na = { b = 0 }\n", "aliases.a = {'b': 0}: weights must be whole numbers from 0 to 1000000, one"),
        ("[versions]\ndemo = 'newest'\n", "versions.demo = 'newest': must be latest, a version, or a table of weights"),
        ("[versions]\ndemo = 0\n", "versions.demo = 0: must be latest, "),
        ("[versions]\ndemo = true\n", "versions.demo = True: must be latest, "),
        ("[versions]\ndemo = {}\n", "versions.demo = {}: must be latest, "),
        ("[versions]\ndemo = { x = 1 }\n", "versions.demo = {'x': 1}: must be latest, "),
        ("[versions]\ndemo = { 1 = -1 }\n", "versions.demo = {'1': -1}: weights must be "),
        ("[versions]\ndemo = { 1 = 0.5 }\n", "versions.demo = {'1': 0.5}: weights must be "),
        ("[versions]\n'a@2' = 1\n", "versions.a@2: the name of a model must match "),
    ],
)
def test_what_is_wrong_is_one_sentence_with_file_key_and_value(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LaunchError) as caught:
        read_rules(file, ["given=demo"])
    assert str(caught.value).startswith(f"{file}: {sentence}")


@pytest.mark.parametrize("flag", ["", "a", "a=", "=b", "a=b c", "a@2=b", "a=b@0"])
def test_an_alias_of_the_command_line_has_one_form(flag: str) -> None:
    with pytest.raises(LaunchError, match="must be ALIAS=NAME"):
        read_rules(None, [flag])


def test_an_alias_is_given_once() -> None:
    with pytest.raises(LaunchError, match="a is given twice"):
        read_rules(None, ["a=b", "a=c"])


def test_a_changed_file_is_read_again_and_a_wrong_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text("[aliases]\na = 'b'\n", encoding="utf-8")
    rules = RulesFile(file, ())
    assert rules.current().aliases == {"a": "b"}
    _replace(file, "[aliases]\na = 'c'\n")
    _wait_for(rules, {"a": "c"})
    _replace(file, "[aliases]\na = 1\n")
    deadline = time.monotonic() + 60
    while "names of models stay" not in caplog.text and time.monotonic() < deadline:
        assert rules.current().aliases == {"a": "c"}
        time.sleep(0.05)
    file.unlink()
    assert rules.current().aliases == {"a": "c"}
    _replace(file, "[aliases]\na = 'd'\n")
    _wait_for(rules, {"a": "d"})


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, file)


def _wait_for(rules: RulesFile, aliases: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while rules.current().aliases != aliases:
        assert time.monotonic() < deadline
        time.sleep(0.05)
