"""docs/conformance.md says what was recorded, and names tests that exist."""

from __future__ import annotations

import ast

import pytest

from tests.conformance import page, results
from tests.conformance.clients import CLIENTS
from tests.docs.pages import ROOT
from tests.syntax import parsed


def named_tests() -> list[str]:
    compared = [row["test"] for row in page.comparison()["row"] if "test" in row]
    return sorted({*compared, *(test for complaint in page.complaints() for test in complaint["tests"])})


def test_the_page_is_what_its_command_writes() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "run python -m tests.conformance.page"


def test_every_client_has_its_results() -> None:
    assert set(results.read()) == {client.name for client in CLIENTS}


def test_what_conch_does_has_a_test_and_what_it_does_not_says_no() -> None:
    for row in page.comparison()["row"]:
        verdict = row["conch"].partition(" ")[0].strip(":;")
        assert verdict in {"yes", "partly", "no"}, row
        assert ("test" in row) == (verdict != "no"), row


@pytest.mark.parametrize("test", named_tests())
def test_a_test_that_the_page_names_exists(test: str) -> None:
    file, _, name = test.partition("::")
    tree = parsed((ROOT / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}
