"""What an operator may set, checked whole before anything starts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.catalog.rules import read_rules
from gateway.http.keys import ApiKeys
from gateway.pool.addresses import check_address, read_addresses
from gateway.store.database import check_store
from gateway.tls import check_certificate
from triton_repo.contract.api_key import (
    ADMIN_KEY_VARIABLE,
    API_KEY_VARIABLE,
    KSERVE_KEY_VARIABLE,
    check_api_key,
    check_key,
)
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.workers import MAX_WORKERS

# Set by the parent of several workers for prometheus_client, which then keeps its values in files there.
METRICS_DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

METRICS_NAMES: Final = ("conch", "triton", "router", "vllm", "gen_ai")

SECRETS: Final = frozenset({"api_key", "admin_key", "triton_key"})  # from the environment alone: argv is world-readable


class Settings(BaseModel):
    """Settings of one gateway, of all its processes. Without any key the API is open to all who reach it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 picks a free one")] = 9000
    triton_grpc: Annotated[
        tuple[Annotated[str, AfterValidator(check_address)], ...],
        Field(description="Triton's gRPC service: HOST:PORT, unix:PATH or dns:NAME:PORT; several share the work"),
    ] = ("127.0.0.1:8001",)
    triton_servers_file: Annotated[
        Path | None, Field(description="more of the same, one on a line; what is added or removed takes effect at once")
    ] = None
    triton_key: Annotated[SecretStr | None, Field(description="key that Triton asks for")] = None
    api_key: Annotated[SecretStr | None, Field(description="key that every request for /v1 must bring")] = None
    admin_key: Annotated[SecretStr | None, Field(description="key of the operator, for /admin")] = None
    api_keys_file: Annotated[
        Path | None, Field(description="names, SHA-256 and limits of more such keys; read again when it changes")
    ] = None
    tls_cert: Annotated[Path | None, Field(description="certificate chain, in PEM; the port then speaks TLS")] = None
    tls_key: Annotated[Path | None, Field(description="private key of the certificate, in PEM")] = None
    max_body_bytes: Annotated[int, Field(ge=1024, description="largest request body")] = 8 * 2**20
    max_waiting_bytes: Annotated[
        int, Field(ge=2**20, description="of large bodies being read, and of large prompts not yet begun; more get 503")
    ] = 32 * 2**20
    body_timeout_s: Annotated[
        float, Field(gt=0, description="time for a client to send its body, and a second for each 64 KiB")
    ] = 15.0
    request_timeout_s: Annotated[float, Field(ge=0, description="time for a whole answer; 0 is no limit")] = 1800.0
    keep_alive_timeout_s: Annotated[float, Field(gt=0, description="time to keep an idle connection open")] = 75.0
    max_concurrent_requests: Annotated[int, Field(ge=1, description="more at once are rejected with 503")] = 1024
    queue_timeout_s: Annotated[
        float, Field(gt=0, description="longest wait for an engine; 503 at once where a turn would come later")
    ] = 30.0
    max_key_share: Annotated[
        float | None,
        Field(gt=0, le=1, description="of an engine, for one key while other keys ask (0.75; on a CPU 0.25)"),
    ] = None
    max_connections: Annotated[
        int, Field(ge=1, description="of each worker; one more closes the one that has been idle longest")
    ] = 8192
    sse_ping_interval_s: Annotated[float, Field(ge=0, description="heartbeat of a stream; 0 is none")] = 15.0
    shutdown_grace_s: Annotated[float, Field(ge=0, description="time for open requests after SIGTERM")] = 10.0
    hang_timeout_s: Annotated[
        float, Field(ge=2, description="a worker that gives no sign of life for so long is replaced")
    ] = 10.0
    engine_states_file: Annotated[
        Path | None, Field(description="where `conch serve` says which engines hang or were lost")
    ] = None
    orders_socket: Annotated[
        Path | None, Field(description="where `conch serve` takes orders to load and unload engines")
    ] = None
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS, description="processes that share the port")] = 1
    cors_origins: Annotated[tuple[str, ...], Field(description="origins whose pages may call the API")] = ()
    alias: Annotated[tuple[str, ...], Field(description="another name of a model, as ALIAS=NAME; may be repeated")] = ()
    catalog: Annotated[
        Path | None,
        Field(description="TOML file of aliases, versions and weighted splits; read again when it changes"),
    ] = None
    first_model: Annotated[str, Field(description="model to list first, which clients take by default")] = ""
    other_models: Annotated[
        tuple[str, ...], Field(description="Triton's models beside the engines that clients reach below /v2")
    ] = ()
    required_models: Annotated[
        tuple[str, ...], Field(description="engines and other models without which /health/ready is 503")
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...], Field(description="names of this server besides those of loopback; * is any")
    ] = ()
    store: Annotated[
        Path | None, Field(description="SQLite file of what is kept between requests; without it, until the end")
    ] = None
    store_max_bytes: Annotated[
        int, Field(ge=2**20, description="of all that is kept; what was not used for longest makes room")
    ] = 2**30
    store_max_age_s: Annotated[float, Field(gt=0, description="how long what is not used is kept")] = 30 * 86400.0
    store_max_responses: Annotated[int, Field(ge=1, description="how many responses are kept")] = 100_000
    max_file_bytes: Annotated[int, Field(ge=1024, description="largest file that may be uploaded")] = 200 * 2**20
    access_log: Annotated[bool, Field(description="log a line for each request")] = True
    otlp_endpoint: Annotated[
        str,
        Field(
            description="base URL of a receiver of traces (OTLP over HTTP); none without", pattern=r"^(https?://.+)?$"
        ),
    ] = ""
    metrics_names: Annotated[
        tuple[str, ...], Field(description="whose names /metrics has: conch, triton, router, vllm, gen_ai")
    ] = ("conch", "triton", "router")
    triton_metrics: Annotated[
        tuple[Annotated[str, Field(pattern=r"^.+:\d+$")], ...],
        Field(description="HOST:PORT of Triton's metrics, for /metrics to have them too; of several servers each"),
    ] = ()

    @field_validator("metrics_names")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in METRICS_NAMES]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(METRICS_NAMES)}")
        return names

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_waiting_bytes < self.max_body_bytes:
            rule = f"must be at least max_body_bytes = {self.max_body_bytes}"
            raise ValueError(f"max_waiting_bytes = {self.max_waiting_bytes}; {rule}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError(f"tls_cert = {self.tls_cert}, tls_key = {self.tls_key}; must be given together")
        return self

    @property
    def secret_files(self) -> dict[str, Path]:
        """Those that only this server should be able to read, by the name of their setting."""
        files = {"api_keys_file": self.api_keys_file, "tls_key": self.tls_key}
        return {name: file for name, file in files.items() if file is not None}

    @property
    def needs_key(self) -> bool:
        return self.api_key is not None or self.api_keys_file is not None


_DESCRIPTION: Final = (
    f"The API key is read from {API_KEY_VARIABLE}, the operator's from {ADMIN_KEY_VARIABLE}, Triton's from "
    f"{KSERVE_KEY_VARIABLE}."
)


def flag_values(argv: Sequence[str]) -> dict[str, Any]:
    """The command line as values of settings: one flag each, and only those that were given."""
    parser = argparse.ArgumentParser("gateway", description=_DESCRIPTION)
    for name, field in Settings.model_fields.items():
        if name not in SECRETS:
            many = get_origin(field.annotation) is tuple
            parser.add_argument(
                "--" + name.replace("_", "-"),
                help=f"{field.description} (default: {' '.join(field.default) if many else field.default})",
                default=argparse.SUPPRESS,
                nargs="*" if many else None,
            )
    return vars(parser.parse_args(argv))


def to_flags(settings: Settings) -> tuple[str, ...]:
    """The command line whose `flag_values` are these settings, but for the keys."""
    words: list[str] = []
    for name, value in settings.model_dump(exclude=set(SECRETS), exclude_defaults=True).items():
        words += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, tuple) else (value,))]
    return tuple(words)


def load_settings(values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `values`, with the keys from the environment.

    Raises:
        LaunchError: a value is not allowed, or the file of keys or the store is none; names the setting, the value
            (but not that of the key) and the rule.
    """
    api_key = check_api_key(environment.get(API_KEY_VARIABLE))
    try:
        keys = {"api_key": api_key, "triton_key": environment.get(KSERVE_KEY_VARIABLE) or None}
        keys["admin_key"] = check_key(environment.get(ADMIN_KEY_VARIABLE), ADMIN_KEY_VARIABLE)
        settings = Settings.model_validate({**values, **keys})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        value = f"gateway setting {name} = {first['input']!r}: " if name else "gateway setting "
        raise LaunchError(value + first["msg"].removeprefix("Value error, ")) from error
    ApiKeys(api_key, settings.api_keys_file, keys["admin_key"])  # before anything is started
    read_rules(settings.catalog, settings.alias)
    _check_certificate(settings)
    if settings.triton_servers_file is not None:
        read_addresses(settings.triton_servers_file)
    if settings.store is not None:
        check_store(settings.store)
    return settings


def _check_certificate(settings: Settings) -> None:
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            check_certificate(settings.tls_cert, settings.tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise LaunchError(f"gateway settings tls_cert, tls_key: no certificate and its key: {error}") from error
