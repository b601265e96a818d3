"""The `conch` command. A verb imports what it needs when it runs, so that `conch --help` is quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from launch.serving.command import serve_command
from launch.serving.flags import ApiKey, Port
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

app.command("serve")(serve_command)


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


models = typer.Typer(help="The engines of a running server.", no_args_is_help=True)
app.add_typer(models, name="models")
Url = Annotated[str, typer.Option(help="Where the gateway is.")]
GATEWAY_URL = "http://127.0.0.1:9000"


@models.command("list")
def list_models(url: Url = GATEWAY_URL) -> None:
    """The names that clients may use, and what each stands for."""
    from launch.models import list_models as run

    typer.echo(run(url))


@models.command("status")
def model_states(url: Url = GATEWAY_URL) -> None:
    """Every engine, and whether it is loaded. Needs the key in CONCH_ADMIN_KEY, as load and unload do."""
    from launch.models import show_states as run

    typer.echo(run(url))


@models.command("load")
def load_model(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION; of an adapter, with :ADAPTER behind it.")],
    url: Url = GATEWAY_URL,
    path: Annotated[
        str | None, typer.Option(help="Of an adapter: its directory there, below conch serve's --adapters-directory.")
    ] = None,
) -> None:
    """Load an engine that was unloaded, or is --available, or a LoRA adapter; returns once it serves."""
    from launch.models import load as run

    typer.echo(run(url, model, path))


@models.command("unload")
def unload_model(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION; of an adapter, with :ADAPTER behind it.")],
    url: Url = GATEWAY_URL,
    grace_s: Annotated[
        float | None, typer.Option(min=0, help="For its open requests; by default the grace of a shutdown.")
    ] = None,
) -> None:
    """Unload an engine, or an adapter, once its open requests have ended."""
    from launch.models import unload as run

    typer.echo(run(url, model, grace_s))


@app.command()
def doctor(
    port: Port = 9000,
    triton_http_port: Port = 8000,
    triton_grpc_port: Port = 8001,
    triton_metrics_port: Port = 8002,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check this machine, its engines and a server that runs, and say what to do. Exits with 1 on an error."""
    from launch.doctor.command import doctor as run

    ports = {
        "--port": port,
        "--triton-http-port": triton_http_port,
        "--triton-grpc-port": triton_grpc_port,
        "--triton-metrics-port": triton_metrics_port,
    }
    raise typer.Exit(0 if run(ports, for_machines=json) else 1)


def main() -> None:
    try:
        app()
    except ConchError as error:
        Console(stderr=True).print(Text(f"conch: {error}", style="red"), soft_wrap=True, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
