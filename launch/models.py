"""`conch models`: the engines of a running server, as its operator lists, loads and unloads them."""

from __future__ import annotations

import json
import os
import ssl
from typing import Any, Final
from urllib.parse import quote, urlencode

from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.http_probe import ProbeAnswer, probe

_TIMEOUT_S: Final = 10.0
_LOAD_S: Final = 3600.0


def list_models(url: str) -> str:
    """The names that clients may use, with what each stands for."""
    lines = [f"{one['id']:32} {one.get('kind', ''):10} {one.get('root', '')}" for one in _models(url, "/v1/models")]
    return "\n".join(lines)


def show_states(url: str) -> str:
    return "\n".join(f"{one['id']:32} {one['state']}" for one in _models(url, "/admin/models"))


def load(url: str, model: str) -> str:
    return _order(url, f"/v1/models/{quote(model, safe='@')}/load", _LOAD_S)


def unload(url: str, model: str, grace_s: float | None) -> str:
    query = "" if grace_s is None else f"?{urlencode({'grace_s': grace_s})}"
    return _order(url, f"/v1/models/{quote(model, safe='@')}/unload{query}", _LOAD_S + (grace_s or 0.0))


def _models(url: str, path: str) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = _ask(url, path, None, _TIMEOUT_S)["data"]
    return models


def _order(url: str, path: str, timeout_s: float) -> str:
    model = _ask(url, path, b"", timeout_s)
    return f"{model['id']}: {model['state']}"


def _ask(url: str, path: str, body: bytes | None, timeout_s: float) -> dict[str, Any]:
    """Raises: LaunchError: there is no server, or it answers with an error."""
    variable = API_KEY_VARIABLE if path == "/v1/models" else ADMIN_KEY_VARIABLE
    answer = _answer(url, path, body, timeout_s, os.environ.get(variable))
    try:
        said: dict[str, Any] = json.loads(answer.body)
        if answer.status == 200:
            return said
        message = str(said["error"]["message"])
    except (ValueError, KeyError, TypeError):
        raise LaunchError(f"{url}{path} answers with status {answer.status}, not as Conch does") from None
    raise LaunchError(f"{message} ({variable})" if answer.status == 401 else message)


def _answer(url: str, path: str, body: bytes | None, timeout_s: float, key: str | None) -> ProbeAnswer:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    base = url.rstrip("/").removesuffix("/v1")  # which the URLs of `conch chat` end with
    try:
        answer = probe(base + path, body, timeout_s, headers, verify=True)
    except ssl.SSLCertVerificationError as error:
        cure = "SSL_CERT_FILE can name a file of the authorities that are"
        raise LaunchError(f"{url}: its certificate is not trusted: {error.verify_message}; {cure}") from None
    except ValueError as error:
        raise LaunchError(f"--url {url}: must be http://HOST:PORT or https://HOST:PORT: {error}") from None
    if answer is None:
        raise LaunchError(f"no server answers at {url}")
    return answer
