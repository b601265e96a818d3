"""A tokenizer.json that says what no vocabulary has."""

from __future__ import annotations

import json

import pytest

from build_scripts.vocabulary.settings import TokenizerSettings, apply_settings
from tests.triton_repo.detokenize.tokenizers_under_test import byte_level


@pytest.mark.parametrize("number", [1 << 21, (1 << 31) - 1, (1 << 32) - 1])
def test_an_id_beyond_any_vocabulary_is_rejected_before_its_gaps_are_listed(number: int) -> None:
    spec = json.loads(byte_level().to_str())
    spec["model"]["vocab"]["far"] = number
    with pytest.raises(ValueError, match=f"^id {number} in tokenizer.json: a vocabulary's are < 2097152$"):
        apply_settings(json.dumps(spec), TokenizerSettings({}, {}, 1000))
