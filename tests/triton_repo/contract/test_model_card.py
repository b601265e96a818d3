"""A model card is read by gateways that are older or newer than the build that wrote it."""

from __future__ import annotations

import json

import pytest

from triton_repo.contract.model_card import ModelCard

CARD = ModelCard(64, "replay", 7, True, "tests", ("min_p", "seed"), 20)


def test_a_card_comes_back_as_it_was_written() -> None:
    assert ModelCard.from_json(CARD.to_json()) == CARD


def test_fields_that_this_version_does_not_know_are_ignored() -> None:
    newer = json.loads(CARD.to_json()) | {"task": "embed", "capabilities": {"tools": ["hermes"]}}
    assert ModelCard.from_json(json.dumps(newer)) == CARD


def test_optional_fields_that_an_older_build_did_not_write_have_defaults() -> None:
    assert ModelCard.from_json('{"max_seq_len": 64, "runtime": "replay"}') == ModelCard(64, "replay")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"max_seq_len": 64}', "model card: runtime: "),
        ('{"max_seq_len": "64", "runtime": "replay"}', "model card: max_seq_len: "),
        ('{"max_seq_len": 64, "runtime": "replay", "unsupported": [7]}', "model card: unsupported.0: "),
        ("[1]", "model card: "),
        ("{", "model card: "),
        ("", "model card: "),
    ],
)
def test_a_card_that_cannot_be_understood_is_one_error_that_names_the_field(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^model card: ") as caught:
        ModelCard.from_json(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
