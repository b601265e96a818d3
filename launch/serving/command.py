"""The verb `conch serve`: its flags, as the options of a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.settings import Settings, load_settings
from launch.ports import LOOPBACK
from launch.serving.flags import ApiKey, Port, with_gateway_flags
from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE

DEFAULT_PORT: Final = Settings().port

Engines = Annotated[list[str] | None, typer.Argument(help="Names or spec files of engines; demo if none.")]
KservePort = Annotated[int, typer.Option(min=1, max=65535, help="Of Triton's own API, with --expose-kserve.")]
ExposeKserve = Annotated[
    bool, typer.Option("--expose-kserve", help="Open Triton's own API on its ports, for clients with its key.")
]
KserveWithoutKey = Annotated[
    bool, typer.Option("--kserve-without-key", help="Let clients without the key infer through Triton's own API.")
]
KserveHost = Annotated[
    str, typer.Option(help="Address of Triton's own API, for a gateway on another machine; in plain text.")
]
Available = Annotated[
    list[str] | None,
    typer.Option(help="Engine that is built, and loaded by `conch models load`; may be repeated."),
]
Control = Annotated[
    str | None,
    typer.Option(help="Triton's: none, explicit or poll; explicit where its own API has no port, else none."),
]
ModelRepository = Annotated[
    list[Path] | None,
    typer.Option(help="Directory of other Triton models, served beside the engines below /v2; may be repeated."),
]
AdaptersDirectory = Annotated[
    Path | None, typer.Option(help="Directory below which `conch models load NAME:ADAPTER` finds LoRA adapters.")
]
RateLimitResource = Annotated[
    list[str] | None, typer.Option(help="NAME:UNITS that models with a rate limiter share; may be repeated.")
]
Launcher = Annotated[
    str, typer.Option(help="What starts the ranks of a split engine: single (TensorRT-LLM), mpirun or srun.")
]
Hosts = Annotated[str | None, typer.Option(help="With mpirun: machines and their ranks, as a:4,b:4.")]
RshAgent = Annotated[str | None, typer.Option(help="With mpirun: what reaches the machines, if not ssh.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show all that Triton logs.")]


@with_gateway_flags
def serve_command(  # noqa: PLR0913 - the options of a command
    engines: Engines = None,
    *,
    port: Port = DEFAULT_PORT,
    triton_http_port: KservePort = 8000,
    triton_grpc_port: KservePort = 8001,
    triton_metrics_port: Port = 8002,
    expose_kserve: ExposeKserve = False,
    kserve_without_key: KserveWithoutKey = False,
    kserve_host: KserveHost = LOOPBACK,
    api_key: ApiKey = None,
    available: Available = None,
    model_control: Control = None,
    rate_limit_resource: RateLimitResource = None,
    model_repository: ModelRepository = None,
    adapters_directory: AdaptersDirectory = None,
    gateway: Mapping[str, Any],
    launcher: Launcher = "single",
    hosts: Hosts = None,
    rsh_agent: RshAgent = None,
    verbose: Verbose = False,
) -> None:
    """Serve engines: tritonserver and the OpenAI gateway, until Ctrl-C. Builds what is not built yet."""
    from launch.kserve import Exposure
    from launch.placement.rate_limits import read_resources
    from launch.ranks import rank_options
    from launch.serving.options import ServeOptions, control_mode
    from launch.serving.other_models import find_models
    from launch.serving.serve import serve

    keys = {API_KEY_VARIABLE: api_key or "", ADMIN_KEY_VARIABLE: os.environ.get(ADMIN_KEY_VARIABLE, "")}
    options = ServeOptions(
        engines=tuple(engines or ("demo",)),
        gateway=load_settings({**gateway, "port": port}, keys),
        kserve=Exposure(triton_http_port, triton_grpc_port, expose_kserve, kserve_without_key, kserve_host),
        triton_metrics_port=triton_metrics_port,
        verbose=verbose,
        ranks=rank_options(launcher, hosts, rsh_agent),
        available=tuple(available or ()),
        model_control=control_mode(model_control),
        rate_limit_resources=read_resources(rate_limit_resource or ()),
        others=find_models([path.absolute() for path in model_repository or ()]),
        adapters_directory=adapters_directory.absolute() if adapters_directory else None,
    )
    serve(options)
