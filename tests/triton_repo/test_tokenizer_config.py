from __future__ import annotations

import pytest

from triton_repo.tokenizer_config import token_text


@pytest.mark.parametrize("token", ["</s>", {"content": "</s>", "lstrip": False}])
def test_a_token_is_read_in_both_forms(token: object) -> None:
    assert token_text(token) == "</s>"


@pytest.mark.parametrize("token", [None, "", 2, {}, {"content": None}])
def test_what_is_no_token_has_no_text(token: object) -> None:
    assert token_text(token) is None
