"""The API keys that are valid: one of the environment, and those of a file, which is read again when it changes.

Only SHA-256 digests are kept. The file has a line for each key, its name and the digest in hexadecimal; a line may be
empty or begin with #:

    alice  2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from triton_repo.contract.api_key import API_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError

logger = logging.getLogger(__name__)

ENVIRONMENT_KEY: Final = "default"  # the name of the key of the environment

_LOOK_AGAIN_S: Final = 1.0
_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64})[ \t]+(?P<digest>[0-9a-fA-F]{64})")


class ApiKeys:
    """
    Raises:
        LaunchError: the file cannot be read; later changes that cannot be are logged, and the keys stay as they were.
    """

    def __init__(self, api_key: str | None, file: Path | None) -> None:
        self._own = {ENVIRONMENT_KEY: hashlib.sha256(api_key.encode()).digest()} if api_key else {}
        self._file = file
        self._read_version = self._version()
        self._digests = {**self._own, **(read_key_file(file) if file else {})}
        self._looked_s = time.monotonic()

    def name_of(self, key: bytes) -> str | None:
        """The name of a valid key. Takes the same time for every key: each digest is compared, and in whole."""
        self._look_again()
        digest = hashlib.sha256(key).digest()
        found = None
        for name, valid in self._digests.items():
            if hmac.compare_digest(digest, valid):
                found = name
        return found

    def _look_again(self) -> None:
        if self._file is None or time.monotonic() < self._looked_s + _LOOK_AGAIN_S:
            return
        self._looked_s = time.monotonic()
        version = self._version()
        if version == self._read_version:
            return
        self._read_version = version
        try:
            self._digests = {**self._own, **read_key_file(self._file)}
        except LaunchError as error:
            logger.error("%s; the keys stay as they were", error)
        else:
            logger.info("%s: %d API keys", self._file, len(self._digests) - len(self._own))

    def _version(self) -> tuple[int, int, int] | None:
        """Another one whenever the file is replaced or written."""
        try:
            stat = self._file.stat() if self._file else None
        except OSError:
            return None
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size) if stat else None


def read_key_file(file: Path) -> Mapping[str, bytes]:
    """Digests by name.

    Raises:
        LaunchError: a line is none of a key, or there is no key at all; names the line, and does not show it.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{file}: API keys cannot be read: {error}") from error
    digests: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise LaunchError(f"{file}, line {number}: must be a name and the SHA-256 of a key, in hexadecimal")
        if match["name"] == ENVIRONMENT_KEY:
            raise LaunchError(f"{file}, line {number}: {ENVIRONMENT_KEY} is the name of the key in {API_KEY_VARIABLE}")
        if match["name"] in digests:
            raise LaunchError(f"{file}, line {number}: {match['name']} has a key already")
        digests[match["name"]] = bytes.fromhex(match["digest"])
    if not digests:
        raise LaunchError(f"{file}: has no API key")
    return digests
