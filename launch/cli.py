"""The `conch` command. A verb imports what it needs when it runs, so that `conch --help` is quick."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gateway.settings import Settings, load_settings
from launch.ports import LOOPBACK
from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, check_api_key
from triton_repo.contract.distribution import install_command
from triton_repo.contract.errors import ConchError, LaunchError

app = typer.Typer(
    name="conch",
    help="Build engines from checkpoints, serve them in Triton, chat with them over OpenAI's API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _adopt(verb: str, module: str, function: str, extra: str) -> None:
    """Add a verb of another folder. An installation without the packages of its `extra` keeps the other verbs."""
    try:
        command = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        cure = f"conch {verb} needs the module {error.name}: {install_command(extra)}"
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        app.command(verb, help=cure, context_settings=anything, add_help_option=False)(_reject(cure))
    else:
        app.command(verb)(command)


def _reject(cure: str) -> Callable[[], None]:
    def reject() -> None:
        raise LaunchError(cure)

    return reject


_adopt("build", "build_scripts.command", "build_command", extra="build")
_adopt("verify", "build_scripts.verify.command", "verify_command", extra="build")
_adopt("bench", "bench.command", "bench_command", extra="bench")
_adopt("sweep", "bench.sweep.command", "sweep_command", extra="bench")
_adopt("top", "bench.top.command", "top_command", extra="gateway")

DEFAULTS = Settings()  # of the gateway
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


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - the options of a command
    engines: Annotated[list[str] | None, typer.Argument(help="Names or spec files of engines; demo if none.")] = None,
    host: Annotated[str, typer.Option(help="Address of the gateway; Triton itself stays on loopback.")] = DEFAULTS.host,
    port: Port = DEFAULTS.port,
    triton_http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of Triton's own API, with --expose-kserve.")
    ] = 8000,
    triton_grpc_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of Triton's own API, with --expose-kserve.")
    ] = 8001,
    triton_metrics_port: Port = 8002,
    expose_kserve: Annotated[
        bool, typer.Option("--expose-kserve", help="Open Triton's own API on its ports, for clients with its key.")
    ] = False,
    kserve_without_key: Annotated[
        bool, typer.Option("--kserve-without-key", help="Let clients without the key infer through Triton's own API.")
    ] = False,
    kserve_host: Annotated[
        str, typer.Option(help="Address of Triton's own API, for a gateway on another machine; in plain text.")
    ] = LOOPBACK,
    api_key: ApiKey = None,
    api_keys_file: Annotated[
        Path | None, typer.Option(help="File of more API keys: a name and the SHA-256 of a key in each line.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain in PEM: the port then speaks TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the certificate, in PEM.")] = None,
    workers: Annotated[int, typer.Option(help="Gateway processes that share the port.")] = DEFAULTS.workers,
    cors_origins: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call the API, or *; may be repeated.")
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None, typer.Option(help="Name of this server besides those of loopback, or *; may be repeated.")
    ] = None,
    keep_alive_timeout_s: Annotated[
        float, typer.Option(help="How long an idle connection is kept open; longer than the pools of proxies do.")
    ] = DEFAULTS.keep_alive_timeout_s,
    request_timeout_s: Annotated[
        float, typer.Option(help="How long an answer may take; 0 is no limit.")
    ] = DEFAULTS.request_timeout_s,
    queue_timeout_s: Annotated[
        float, typer.Option(help="How long a request may wait for an engine.")
    ] = DEFAULTS.queue_timeout_s,
    shutdown_grace_s: Annotated[
        float, typer.Option(help="How long open requests may take to end after a stop signal.")
    ] = DEFAULTS.shutdown_grace_s,
    hang_timeout_s: Annotated[
        float, typer.Option(help="A process that gives no sign of life for so long is started again.")
    ] = DEFAULTS.hang_timeout_s,
    store: Annotated[
        Path | None,
        typer.Option(help="SQLite file of what is kept between requests; without it, until the end."),
    ] = None,
    store_max_bytes: Annotated[int, typer.Option(help="Of all that is kept.")] = DEFAULTS.store_max_bytes,
    store_max_age_s: Annotated[
        float, typer.Option(help="How long what is not used is kept.")
    ] = DEFAULTS.store_max_age_s,
    store_max_responses: Annotated[
        int, typer.Option(help="How many responses are kept.")
    ] = DEFAULTS.store_max_responses,
    max_file_bytes: Annotated[int, typer.Option(help="Largest file that may be uploaded.")] = DEFAULTS.max_file_bytes,
    access_log: Annotated[bool, typer.Option(help="Log a line for each request.")] = DEFAULTS.access_log,
    launcher: Annotated[
        str, typer.Option(help="What starts the ranks of a split engine: single (TensorRT-LLM), mpirun or srun.")
    ] = "single",
    hosts: Annotated[str | None, typer.Option(help="With mpirun: machines and their ranks, as a:4,b:4.")] = None,
    rsh_agent: Annotated[str | None, typer.Option(help="With mpirun: what reaches the machines, if not ssh.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show all that Triton logs.")] = False,
) -> None:
    """Serve engines: tritonserver and the OpenAI gateway, until Ctrl-C. Builds what is not built yet."""
    from launch.kserve import Exposure
    from launch.ranks import rank_options
    from launch.serve import ServeOptions
    from launch.serve import serve as run

    run(
        ServeOptions(
            engines=tuple(engines or ("demo",)),
            gateway=load_settings(
                {
                    "host": host,
                    "port": port,
                    "api_keys_file": api_keys_file and api_keys_file.absolute(),
                    "tls_cert": tls_cert and tls_cert.absolute(),
                    "tls_key": tls_key and tls_key.absolute(),
                    "workers": workers,
                    "cors_origins": cors_origins or (),
                    "allowed_hosts": allowed_hosts or (),
                    "keep_alive_timeout_s": keep_alive_timeout_s,
                    "request_timeout_s": request_timeout_s,
                    "queue_timeout_s": queue_timeout_s,
                    "shutdown_grace_s": shutdown_grace_s,
                    "hang_timeout_s": hang_timeout_s,
                    "store": store and store.absolute(),
                    "store_max_bytes": store_max_bytes,
                    "store_max_age_s": store_max_age_s,
                    "store_max_responses": store_max_responses,
                    "max_file_bytes": max_file_bytes,
                    "access_log": access_log,
                },
                {API_KEY_VARIABLE: api_key or "", ADMIN_KEY_VARIABLE: os.environ.get(ADMIN_KEY_VARIABLE, "")},
            ),
            kserve=Exposure(triton_http_port, triton_grpc_port, expose_kserve, kserve_without_key, kserve_host),
            triton_metrics_port=triton_metrics_port,
            verbose=verbose,
            ranks=rank_options(launcher, hosts, rsh_agent),
        )
    )


@app.command()
def chat(  # noqa: PLR0913, PLR0917 - the options of a command
    url: Annotated[str, typer.Option(help="Base URL of an OpenAI API.")] = "http://127.0.0.1:9000/v1",
    model: Annotated[str | None, typer.Option(help="The first that the server lists, if not given.")] = None,
    api_key: ApiKey = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Chat with a served engine in the terminal."""
    from launch.chat import ChatOptions
    from launch.chat import chat as run

    run(ChatOptions(url, model, api_key, system, temperature, max_tokens))


@app.command()
def doctor(
    port: Port = 9000,
    triton_http_port: Port = 8000,
    triton_grpc_port: Port = 8001,
    triton_metrics_port: Port = 8002,
) -> None:
    """Check that this machine can build and serve, and say what to do where it cannot."""
    from launch.doctor import doctor as run

    ports = {
        "--port": port,
        "--triton-http-port": triton_http_port,
        "--triton-grpc-port": triton_grpc_port,
        "--triton-metrics-port": triton_metrics_port,
    }
    raise typer.Exit(0 if run(ports) else 1)


def main() -> None:
    try:
        app()
    except ConchError as error:
        Console(stderr=True).print(Text(f"conch: {error}", style="red"), soft_wrap=True, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
