"""Request errors survive their way through Triton as text."""

from __future__ import annotations

import pytest

from triton_repo.contract.errors import (
    ContextLengthExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    RequestError,
    UnsupportedParameter,
    from_wire,
    to_wire,
)


@pytest.mark.parametrize(
    "cls", [InvalidRequest, UnsupportedParameter, ContextLengthExceeded, EngineUnavailable, EngineFailed]
)
@pytest.mark.parametrize("param", [None, "messages"])
def test_an_error_comes_back_with_class_message_and_parameter(cls: type[RequestError], param: str | None) -> None:
    error = from_wire("in ensemble 'demo', " + to_wire(cls("a [strange] message:\nof two lines", param)))
    assert type(error) is cls
    assert (error.message, error.param) == ("a [strange] message:\nof two lines", param)


@pytest.mark.parametrize("text", ["", "Socket closed", "x [conch:SystemExit:]", "in ensemble 'demo', unexpected shape"])
def test_a_text_of_triton_itself_is_no_request_error(text: str) -> None:
    assert from_wire(text) is None


def test_half_a_surrogate_pair_in_a_message_does_not_keep_it_from_the_wire() -> None:
    text = to_wire(InvalidRequest("role = \ud800", "messages"))
    text.encode()
    error = from_wire(text)
    assert error is not None
    assert (error.message, error.param) == ("role = ?", "messages")
