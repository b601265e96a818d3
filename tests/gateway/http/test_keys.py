"""API keys in a file: names and digests, read again when it changes."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import httpx
import pytest

from gateway.admission.caller import Caller
from gateway.admission.quota import Limits
from gateway.catalog import watched_file
from gateway.catalog.settings_file import MAX_BYTES
from gateway.http.keys import ApiKeys, read_key_file
from gateway.settings import Settings, flag_values, load_settings, to_flags
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import LaunchError

WAIT_S = 120


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def status(gateway: Running, key: str) -> int:
    headers = {"host": "x", "authorization": f"Bearer {key}"}
    return httpx.get(gateway.url + "/v1/models", headers=headers).status_code


def wait_for_status(gateway: Running, key: str, wanted: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while status(gateway, key) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_keys_of_the_file_and_that_of_the_environment_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\n\nalice {digest('sk-a')}\nbob\t{digest('sk-b').upper()}\n", encoding="utf-8")
    with serving(ScriptedBackend(), api_key="sk-own", api_keys_file=file) as gateway:
        found = {key: status(gateway, key) for key in ("sk-a", "sk-b", "sk-own", "sk-c", "alice", digest("sk-a"))}
    assert [key for key, code in found.items() if code == 200] == ["sk-a", "sk-b", "sk-own"]
    assert set(found.values()) == {200, 401}


def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "_LOOK_AGAIN_S", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"alice {digest('sk-a')}\n", encoding="utf-8")
    with serving(ScriptedBackend(), api_keys_file=file) as gateway:
        assert (status(gateway, "sk-a"), status(gateway, "sk-b")) == (200, 401)
        replaced = tmp_path / "new"
        replaced.write_text(f"bob {digest('sk-b')}\n", encoding="utf-8")
        replaced.replace(file)
        wait_for_status(gateway, "sk-b", 200)
        assert status(gateway, "sk-a") == 401
        for broken in ("bob\n", ""):
            file.write_text(broken, encoding="utf-8")
            assert (status(gateway, "sk-a"), status(gateway, "sk-b")) == (401, 200)
        file.write_bytes(b"\xff\0" * MAX_BYTES)
        assert (status(gateway, "sk-a"), status(gateway, "sk-b")) == (401, 200)
        for become in (Path.unlink, Path.mkdir, Path.rmdir, os.mkfifo, Path.unlink, lambda it: it.symlink_to(it)):
            become(file)
            assert (status(gateway, "sk-a"), status(gateway, "sk-b")) == (401, 200)
        file.unlink()
        file.symlink_to("/dev/zero")
        assert (status(gateway, "sk-a"), status(gateway, "sk-b")) == (401, 200)


def test_the_name_of_a_key_is_known() -> None:
    assert ApiKeys("sk-own", None).caller(b"sk-own") == Caller("default")
    assert ApiKeys("sk-own", None).caller(b"sk-other") is None


def test_a_line_says_what_a_key_may_do(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    words = "requests_per_minute=60 tokens_per_minute=10000 parallel=4 models=demo,chat priority=batch"
    file.write_text(f"alice {digest('sk-a')} {words}\nbob {digest('sk-b')}\n", encoding="utf-8")
    keys = ApiKeys(None, file)
    assert keys.caller(b"sk-a") == Caller("alice", Limits(60, 10_000, 4), frozenset({"demo", "chat"}), batch=True)
    assert keys.caller(b"sk-b") == Caller("bob")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("alice sk-a-secret-key", "line 1: must be a name and the SHA-256"),
        (f"al!ce {digest('a')}", "line 1: must be a name and the SHA-256"),
        (f"alice {digest('a')}\n\nalice {digest('b')}", "line 3: alice has a key already"),
        (f"default {digest('a')}", "line 1: default is the name of the key in CONCH_API_KEY"),
        ("# none\n", "has no API key"),
        (
            f"alice {digest('a')} sk-a-secret-key",
            "line 1: each word after the digest must be one of requests_per_minute, ",
        ),
        (f"alice {digest('a')} parallel", "line 1: each word after the digest must be"),
        (f"alice {digest('a')} parallel=1 parallel=2", "line 1: each word after the digest must be one of .*, once"),
        (f"alice {digest('a')} parallel=0", "line 1: parallel = 0: must be a whole number of at least 1"),
        (f"alice {digest('a')} tokens_per_minute=1e3", "line 1: tokens_per_minute = 1e3: must be"),
        (f"alice {digest('a')} priority=high", "line 1: priority = high: must be interactive or batch"),
        (f"alice {digest('a')}\nbob {digest('a')}", "line 2: bob has the same key as alice"),
        *[
            (f"alice {digest('a')} models={models}", f"line 1: models = {models}: must be names of models")
            for models in (",", "demo,", ",demo", "demo,,chat")
        ],
        ("\n".join(f"k{n} {digest(str(n))}" for n in range(1001)), "has 1001 API keys; must be 1 to 1000"),
    ],
)
def test_a_file_that_is_none_of_keys_is_rejected_without_showing_it(tmp_path: Path, content: str, rule: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(LaunchError, match=rule) as rejected:
        read_key_file(file)
    assert "sk-a" not in str(rejected.value)


def test_the_file_goes_to_the_workers_as_a_flag(tmp_path: Path) -> None:
    settings = Settings(api_keys_file=tmp_path / "keys")
    with pytest.raises(LaunchError, match="keys: cannot be read: "):  # before anything is started
        load_settings(flag_values(to_flags(settings)), {})
    (tmp_path / "keys").write_text(f"alice {digest('sk-a')}\n", encoding="utf-8")
    assert load_settings(flag_values(to_flags(settings)), {}) == settings


def test_a_key_has_one_holder(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice {digest('sk-a')}\n\nbob {digest('sk-b')}\n", encoding="utf-8")
    flags = flag_values(to_flags(Settings(api_keys_file=file)))
    key, other = "sk-b", "sk-b" * 8
    with pytest.raises(LaunchError, match="line 3: bob has the same key as CONCH_API_KEY; each must have its own"):
        ApiKeys(key, file)
    with pytest.raises(LaunchError, match="line 3: bob has the same key as CONCH_ADMIN_KEY"):
        ApiKeys(None, file, key)
    with pytest.raises(LaunchError, match="line 3: bob has the same key as CONCH_API_KEY"):
        load_settings(flags, {"CONCH_API_KEY": key})
    with pytest.raises(LaunchError, match="CONCH_ADMIN_KEY and CONCH_API_KEY are the same key; they must differ"):
        load_settings({}, {"CONCH_API_KEY": other, "CONCH_ADMIN_KEY": other})


def test_a_file_that_takes_a_key_of_another_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "_LOOK_AGAIN_S", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"alice {digest('sk-a')}\n", encoding="utf-8")
    known = ApiKeys("sk-own", file)
    file.write_text(f"alice {digest('sk-a')}\nbob {digest('sk-own')}\n", encoding="utf-8")
    assert known.caller(b"sk-own") == Caller("default")
