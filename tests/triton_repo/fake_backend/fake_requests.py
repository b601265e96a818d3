"""Requests of Triton as a model gets them, and what their senders were given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


class Input:
    def __init__(self, name: str, values: Any) -> None:
        self._name = name
        self._values = values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        if isinstance(self._values, Exception):
            raise self._values
        return self._values


class Sender:
    def __init__(self) -> None:
        self.responses: list[Any] = []

    def send(self, response: Any = None, flags: int = 0) -> None:  # noqa: ARG002
        if response is not None:
            self.responses.append(response)

    def is_cancelled(self) -> bool:
        return False


class Request:
    """A tensor that is an exception raises it when it is read, and so does a sender."""

    def __init__(
        self,
        id: str,
        tensors: Mapping[str, Any],
        sender: Sender | Exception | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._id = id
        self._parameters = dict(parameters or {})
        self._inputs = [Input(name, values) for name, values in tensors.items()]
        self._sender = sender or Sender()

    def request_id(self) -> str:
        return self._id

    def parameters(self) -> str:
        return json.dumps(self._parameters)

    def inputs(self) -> list[Input]:
        return self._inputs

    def get_response_sender(self) -> Sender:
        if isinstance(self._sender, Exception):
            raise self._sender
        return self._sender

    @property
    def responses(self) -> list[Any]:
        return self.get_response_sender().responses


def texts(*values: str) -> Any:
    """A BYTES tensor of one text for each row."""
    return np.array([[value.encode()] for value in values], dtype=np.object_)
