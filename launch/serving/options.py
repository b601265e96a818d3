"""The command line of `conch serve`, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

from gateway.settings import Settings
from launch.kserve import Exposure
from launch.ports import LOOPBACK, Listener, reachable
from launch.ranks import RankOptions
from launch.tritonserver import ControlMode
from triton_repo.contract.errors import LaunchError

ADAPTERS_FLAG: Final = "--adapters-directory"

_NEVER_LOADED: Final = "no engine can be loaded later; --available needs"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The command line of `conch serve`; `engines` are names or paths of specs, the first is the default of clients.

    Those that are `available` are built too, and loaded when the operator says so; once they are built, it has their
    names.

    Adapters are loaded from below `adapters_directory`, and from nowhere without one.

    The `others` are models of other repositories, served beside the engines: the repository of each, by its name.

    Every setting of the `gateway` reaches it as it is, but for Triton's address.
    """

    engines: tuple[str, ...]
    gateway: Settings
    kserve: Exposure
    triton_metrics_port: int
    verbose: bool = False
    ranks: RankOptions = field(default_factory=RankOptions)
    available: tuple[str, ...] = ()
    model_control: ControlMode | None = None
    rate_limit_resources: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Path] = field(default_factory=dict)
    adapters_directory: Path | None = None

    @property
    def control(self) -> ControlMode:
        """Unless it is chosen: explicit where only this user reaches Triton, so that one engine can be loaded again."""
        return self.model_control or ("none" if self.kserve.exposed else "explicit")

    def check(self) -> None:
        """Raises: LaunchError: two options do not agree."""
        if self.available and self.control != "explicit":
            chosen = f"--model-control {self.control}" if self.model_control else "--expose-kserve"
            raise LaunchError(f"{chosen}: {_NEVER_LOADED} --model-control explicit")
        if self.available and self.ranks.launcher != "single":
            raise LaunchError(f"--launcher {self.ranks.launcher}: {_NEVER_LOADED} --launcher single")
        self._check_adapters()

    def _check_adapters(self) -> None:
        directory = self.adapters_directory
        if directory is None:
            return
        if not directory.is_dir():
            raise LaunchError(f"{ADAPTERS_FLAG} {directory}: must be a directory")
        if self.control != "explicit" or self.ranks.launcher != "single":
            rule = "adapters are loaded only with --model-control explicit and --launcher single"
            raise LaunchError(f"{ADAPTERS_FLAG} {directory}: {rule}")

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return (
            Listener("--port", self.gateway.host, self.gateway.port),
            *self.kserve.listeners,
            Listener("--triton-metrics-port", LOOPBACK, self.triton_metrics_port),
        )

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the gateway."""
        scheme = "http" if self.gateway.tls_cert is None else "https"
        return f"{scheme}://{reachable(self.gateway.host)}:{self.gateway.port}"


def control_mode(word: str | None) -> ControlMode | None:
    """Raises: LaunchError: there is no such mode."""
    mode = next((mode for mode in get_args(ControlMode) if mode == word), None)
    if mode is None and word is not None:
        raise LaunchError(f"--model-control {word}: allowed: {', '.join(get_args(ControlMode))}")
    return mode
