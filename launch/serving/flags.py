"""Flags that commands share, and those that are settings of the gateway, made from the settings themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, get_origin

import typer

from gateway.settings import SECRETS, Settings
from triton_repo.contract.api_key import API_KEY_VARIABLE, check_api_key

Port = Annotated[int, typer.Option(min=1, max=65535)]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar=API_KEY_VARIABLE,
        show_envvar=True,
        help="Better in the variable: `ps` shows arguments.",
        callback=check_api_key,
    ),
]

ARGUMENT: Final = "gateway"

# Those that the command itself knows, or has an option of its own for.
_OF_TRITON: Final = {"triton_grpc", "triton_servers_file", "triton_metrics", "engine_states_file", "orders_socket"}
_NOT_FLAGS: Final = SECRETS | _OF_TRITON | {"first_model", "other_models", "port"}
_NAMES: Final = tuple(name for name in Settings.model_fields if name not in _NOT_FLAGS)


def with_gateway_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each setting, whose values it gets by name as its argument `gateway`."""

    @wraps(command)
    def run(**values: Any) -> None:
        settings = {name: _setting(values.pop(name)) for name in _NAMES}
        command(**values, **{ARGUMENT: {name: value for name, value in settings.items() if value is not None}})

    signature = inspect.signature(command, eval_str=True)
    options = [option for each in signature.parameters.values() for option in _options(each)]
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]  # typer reads it
    return run


def _options(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    parameters = [_option(name) for name in _NAMES] if parameter.name == ARGUMENT else [parameter]
    return [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]


def _option(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    many = get_origin(field.annotation) is tuple
    description = field.description or ""
    option = typer.Option(help=f"{description[:1].upper()}{description[1:]}.")
    annotation = Annotated[list[str] | None if many else field.annotation, option]  # type: ignore[valid-type]
    default = (list(field.default) or None) if many else field.default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _setting(value: Any) -> Any:
    """Paths do not depend on where the gateway is started."""
    return value.absolute() if isinstance(value, Path) else value
