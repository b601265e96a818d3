"""The API keys that are valid: one of the environment, and those of a file, which is read again when it changes.

Only SHA-256 digests are kept. The file has a line for each key: its name, the digest in hexadecimal, and what the key
may do; a line may be empty or begin with #:

    alice  2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    nightly  fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9  models=demo,chat priority=batch
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.admission.caller import Caller
from gateway.admission.quota import Limits
from gateway.catalog.settings_file import read_settings_file
from gateway.catalog.watched_file import WatchedFile
from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError

logger = logging.getLogger(__name__)

ENVIRONMENT_KEY: Final = "default"  # the name of the key of the environment

MAX_KEYS: Final = 1000  # each has counts that all processes of a gateway share

_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64})[ \t]+(?P<digest>[0-9a-fA-F]{64})(?P<words>([ \t]+\S+)*)")
_NUMBERS: Final = ("requests_per_minute", "tokens_per_minute", "parallel")
_PROPERTIES: Final = (*_NUMBERS, "models", "priority")


class ApiKeys:
    """
    Raises:
        LaunchError: the file cannot be read, or two keys are the same; later changes of that kind are logged, and the
            keys stay as they were.
    """

    def __init__(self, api_key: str | None, file: Path | None, admin_key: str | None = None) -> None:
        self._admin = _digest(admin_key.encode()) if admin_key else None
        self._own = {_digest(api_key.encode()): Caller(ENVIRONMENT_KEY)} if api_key else {}
        if self._admin in self._own:
            raise LaunchError(f"{ADMIN_KEY_VARIABLE} and {API_KEY_VARIABLE} are the same key; they must differ")
        self._file = file
        self._watched = WatchedFile(file) if file else None
        self._callers = self._read(file) if file else self._own

    def caller(self, key: bytes) -> Caller | None:
        """Who holds this key, None if it is not valid.

        Keys are compared by their digests: how long that takes tells something about a digest, which no client can
        choose, and nothing about a key.
        """
        self._look_again()
        return self._callers.get(_digest(key))

    def is_admin(self, key: bytes) -> bool:
        """Whether it is the operator's key, which there may be none of."""
        return self._admin is not None and hmac.compare_digest(_digest(key), self._admin)

    @property
    def are_needed(self) -> bool:
        """Without any, every client may ask."""
        return bool(self._own) or self._file is not None

    @property
    def callers(self) -> Sequence[Caller]:
        return [*self._callers.values()]

    def _look_again(self) -> None:
        if self._file is None or self._watched is None or not self._watched.has_changed():
            return
        try:
            self._callers = self._read(self._file)
        except LaunchError as error:
            logger.error("%s; the keys stay as they were", error)
        else:
            logger.info("%s: %d API keys", self._file, len(self._callers) - len(self._own))

    def _read(self, file: Path) -> Mapping[bytes, Caller]:
        others = dict.fromkeys(self._own, API_KEY_VARIABLE)
        if self._admin is not None:
            others[self._admin] = ADMIN_KEY_VARIABLE
        return {**self._own, **read_key_file(file, others)}


def read_key_file(file: Path, others: Mapping[bytes, str] = MappingProxyType({})) -> Mapping[bytes, Caller]:
    """Who holds which key, by the key's digest; `others` are keys that the file must not have, and what has them.

    Raises:
        LaunchError: a line is none of a key, or of one that there is already, or there is no key at all; names the
            line, and does not show it.
    """
    lines = read_settings_file(file).splitlines()
    callers: dict[bytes, Caller] = {}
    holders = dict(others)
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            digest, caller = _read_line(line.strip(), holders)
        except ValueError as error:
            raise LaunchError(f"{file}, line {number}: {error}") from None
        callers[digest] = caller
        holders[digest] = caller.name
    if not 0 < len(callers) <= MAX_KEYS:
        raise LaunchError(f"{file}: has {len(callers) or 'no'} API keys; must be 1 to {MAX_KEYS}")
    return callers


def _read_line(line: str, holders: Mapping[bytes, str]) -> tuple[bytes, Caller]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(
            "must be a name and the SHA-256 of a key, in hexadecimal, with or without words like parallel=4"
        )
    name = match["name"]
    if name == ENVIRONMENT_KEY:
        raise ValueError(f"{ENVIRONMENT_KEY} is the name of the key in {API_KEY_VARIABLE}")
    if name in holders.values():
        raise ValueError(f"{name} has a key already")
    digest = bytes.fromhex(match["digest"])
    if digest in holders:
        raise ValueError(f"{name} has the same key as {holders[digest]}; each must have its own")
    return digest, _caller(name, match["words"].split())


def _caller(name: str, words: Sequence[str]) -> Caller:
    properties: dict[str, str] = {}
    for word in words:
        property, _, value = word.partition("=")
        if property not in _PROPERTIES or property in properties or not value:
            allowed = ", ".join(_PROPERTIES)
            raise ValueError(f"each word after the digest must be one of {allowed}, once, with = and a value behind it")
        properties[property] = value
    limits = {number: _positive(number, properties[number]) for number in _NUMBERS if number in properties}
    priority = properties.get("priority", "interactive")
    if priority not in ("interactive", "batch"):
        raise ValueError(f"priority = {priority}: must be interactive or batch")
    models = properties["models"].split(",") if "models" in properties else None
    if models is not None and not all(models):
        raise ValueError(f"models = {properties['models']}: must be names of models with one comma between two")
    return Caller(name, Limits(**limits), None if models is None else frozenset(models), priority == "batch")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _positive(name: str, value: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,9}", value):
        raise ValueError(f"{name} = {value}: must be a whole number of at least 1")
    return int(value)
