"""What an operator may set, checked whole before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from triton_repo.errors import LaunchError

API_KEY_VARIABLE: Final = "CONCH_API_KEY"


class Settings(BaseModel):
    """Settings of one gateway process. `api_key` None leaves the API open to whoever reaches the port."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 picks a free one")] = 9000
    triton_grpc: Annotated[str, Field(description="HOST:PORT of Triton's gRPC service")] = "127.0.0.1:8001"
    api_key: Annotated[SecretStr | None, Field(description="key that every request for /v1 must bring")] = None
    max_body_bytes: Annotated[int, Field(ge=1024, description="largest request body")] = 8 * 2**20
    body_timeout_s: Annotated[float, Field(gt=0, description="time for a client to send its body")] = 30.0
    max_concurrent_requests: Annotated[int, Field(ge=1, description="more at once are refused with 503")] = 1024
    sse_ping_interval_s: Annotated[float, Field(ge=0, description="heartbeat of a stream; 0 is none")] = 15.0
    shutdown_grace_s: Annotated[float, Field(ge=0, description="time for open requests after SIGTERM")] = 10.0
    cors_origins: Annotated[tuple[str, ...], Field(description="origins whose pages may call the API")] = ()


def load_settings(values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `values` and the environment. The key comes from the environment only: argv is world-readable.

    Raises:
        LaunchError: a value is not allowed; names the setting, the value and the rule.
    """
    try:
        return Settings.model_validate({**values, "api_key": environment.get(API_KEY_VARIABLE) or None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise LaunchError(f"gateway setting {name} = {first['input']!r}: {first['msg']}") from error
