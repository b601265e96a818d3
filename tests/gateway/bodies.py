"""Request bodies as bytes, and what a refusal must look like."""

from __future__ import annotations

import json
from typing import Any

import httpx

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"role": "user", "content": "Hello"}


def post(client: httpx.Client, path: str, body: bytes) -> httpx.Response:
    return client.post(path, content=body, headers={"content-type": "application/json"})


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "demo", "messages": [HELLO], **fields}).encode()


def completion(**fields: Any) -> bytes:
    return json.dumps({"model": "demo", "prompt": "Hello", **fields}).encode()


def refusal(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert isinstance(body["error"]["message"], str)
    error: dict[str, Any] = body["error"]
    return error
