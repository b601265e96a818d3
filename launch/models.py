"""`conch models`: the engines of a running server, as its operator lists, loads and unloads them."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, check_key
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.model_orders import MAX_GRACE_S
from triton_repo.contract.http_probe import ProbeAnswer, probe

_TIMEOUT_S: Final = 10.0
_LOAD_S: Final = 3600.0


def list_models(url: str) -> str:
    """The names that clients may use, with what each stands for."""
    return _ask(url, "/v1/models", None, _TIMEOUT_S, _listed)


def show_states(url: str) -> str:
    return _ask(url, "/admin/models", None, _TIMEOUT_S, _with_states)


def load(url: str, model: str, path: str | None = None) -> str:
    body = b"" if path is None else json.dumps({"path": path}).encode()
    return _ask(url, f"/v1/models/{quote(model, safe='@:')}/load", body, _LOAD_S, _state)


def unload(url: str, model: str, grace_s: float | None) -> str:
    if grace_s is not None and not 0 <= grace_s <= MAX_GRACE_S:
        raise LaunchError(f"--grace-s {grace_s:g}: must be from 0 to {MAX_GRACE_S:g}")
    query = "" if grace_s is None else f"?{urlencode({'grace_s': grace_s})}"
    return _ask(url, f"/v1/models/{quote(model, safe='@:')}/unload{query}", b"", _LOAD_S + (grace_s or 0.0), _state)


def _listed(said: Any) -> str:
    return "\n".join(f"{one['id']:32} {one.get('kind', ''):10} {one.get('root', '')}" for one in said["data"])


def _with_states(said: Any) -> str:
    return "\n".join(f"{one['id']:32} {one['state']}" for one in said["data"])


def _state(said: Any) -> str:
    return f"{said['id']}: {said['state']}"


def _ask(url: str, path: str, body: bytes | None, timeout_s: float, show: Callable[[Any], str]) -> str:
    """Raises: LaunchError: there is no server, it answers with an error, or what it answers cannot be shown."""
    variable = API_KEY_VARIABLE if path == "/v1/models" else ADMIN_KEY_VARIABLE
    answer = _answer(url, path, body, timeout_s, check_key(os.environ.get(variable), variable))
    try:
        said = json.loads(answer.body)
        if answer.status == 200:
            return show(said)
        message = str(said["error"]["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LaunchError(f"{url}{path} answers with status {answer.status}, not as Conch does") from None
    raise LaunchError(f"{message} ({variable})" if answer.status == 401 else message)


def _answer(url: str, path: str, body: bytes | None, timeout_s: float, key: str | None) -> ProbeAnswer:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if body:
        headers["content-type"] = "application/json"
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
