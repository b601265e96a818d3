"""`conch serve`: from engines and ports to the two services that serve them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from gateway.settings import Settings, to_flags
from launch.engines import ServedEngine, build_engines, check_encoders
from launch.health.heartbeats import HeartbeatWatch
from launch.health.recovery import EngineRecovery
from launch.health.reports import EngineReports
from launch.health.stubs import StubWatch
from launch.journal import Journal, triton_line_matters
from launch.kserve import Exposure, TritonAccess, triton_access
from launch.ports import LOOPBACK, Listener, check_ports, reachable
from launch.ranks import RankOptions, ranked_argv
from launch.run_directory import RunDirectory, run_directory
from launch.service import Service
from launch.shared_memory import check_shared_memory
from launch.supervisor import Supervisor
from launch.tritonserver import (
    ServerOptions,
    TritonInstallation,
    find_tritonserver,
    lay_out_backends,
    server_argv,
    server_environment,
)
from launch.wrappers.hidden_arguments import hiding
from triton_repo.contract.api_key import API_KEY_VARIABLE, KSERVE_KEY_VARIABLE
from triton_repo.contract.distribution import installed_version
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.gpu import installed_gpus
from triton_repo.contract.health.heartbeat import HEARTBEATS_VARIABLE
from triton_repo.contract.model_card import GENERATE
from triton_repo.contract.steps import STEPS
from triton_repo.embed.settings import EncoderConfig
from triton_repo.engine.runtimes.tensorrt_llm.engine import check_engine, installed

GATEWAY_STOP_MARGIN_S = 20.0  # beyond the gateway's own grace for open requests
GATEWAY_MAX_SILENCE_S = 30.0
TRITON_STOP_MARGIN_S = 5.0
_EXAMPLES: Final = {  # by kind of engine: a path, and what a body holds beside the model's name
    GENERATE: ("/v1/chat/completions", '"messages": [{"role": "user", "content": "Hello!"}]'),
    "embed": ("/v1/embeddings", '"input": "Hello!"'),
    "rerank": ("/v1/rerank", '"query": "Hello!", "documents": ["Good morning.", "A stone."]'),
    "classify": ("/v1/classify", '"input": "Hello!"'),
}


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The command line of `conch serve`; `engines` are names or paths of specs, the first is the default of clients.

    Every setting of the `gateway` reaches it as it is, but for Triton's address.
    """

    engines: tuple[str, ...]
    gateway: Settings
    kserve: Exposure
    triton_metrics_port: int
    verbose: bool = False
    ranks: RankOptions = field(default_factory=RankOptions)

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


def serve(options: ServeOptions) -> None:
    """Build what is not built, serve it, and return after a stop signal, drained."""
    started = time.monotonic()
    installation = find_tritonserver(os.environ)
    check_ports(options.listeners)
    check_shared_memory(len(STEPS) * len(options.engines))
    journal = Journal(Console(stderr=True))
    engines = _engines(options.engines, journal)
    first = next((engine for engine in engines if engine.kind == GENERATE), engines[0])  # clients chat with it
    options = replace(options, gateway=options.gateway.model_copy(update={"first_model": first.name}))
    with run_directory() as directory, directory.hold_repositories(engines) as repositories:
        access = triton_access(options.kserve, directory.path, os.environ)
        triton = triton_service(options, directory, repositories, installation, access)
        argv = ranked_argv(triton.argv, options.ranks, _configurations(repositories), triton.environment)
        gateway = gateway_service(options, directory, os.environ, access)
        services = (replace(triton, argv=(_program(argv[0]), *argv[1:])), gateway)
        asyncio.run(_run(services, journal, partial(_announce, options, engines, started, access.announcement)))


async def _run(services: Sequence[Service], journal: Journal, announce: Callable[[Collection[str]], None]) -> None:
    supervisor = Supervisor(services, journal)
    await supervisor.run(lambda: announce(supervisor.missing))


def _configurations(repositories: Mapping[str, Path]) -> tuple[EngineConfig, ...]:
    """Those of engines that this machine can run; LaunchError if it cannot run one."""
    directories = [repository.resolve().parent for repository in repositories.values()]
    directories = [each for each in directories if EngineDirectory(each).config_file.is_file()]
    configurations = tuple(map(EngineConfig.load, directories))
    for directory, configuration in zip(directories, configurations, strict=True):
        if configuration.runtime == "tensorrt_llm":
            check_engine(EngineDirectory(directory).model.path, configuration, installed())
    return configurations


def _encoders(repositories: Mapping[str, Path]) -> tuple[EncoderConfig, ...]:
    directories = [repository.resolve().parent for repository in repositories.values()]
    directories = [each for each in directories if EngineDirectory(each).encoder_config_file.is_file()]
    encoders = tuple(map(EncoderConfig.load, directories))
    check_encoders((encoder.name for encoder in encoders), installed_version("openvino"))
    return encoders


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise LaunchError(f"{name} is not installed here, or not on the PATH")
    return path


def _engines(specs: Sequence[str], journal: Journal) -> tuple[ServedEngine, ...]:
    from build_scripts.build import ensure_engine  # building is the heavy half of Conch

    return build_engines(specs, ensure_engine, partial(journal, "conch"))


def triton_service(
    options: ServeOptions,
    directory: RunDirectory,
    repositories: Mapping[str, Path],
    installation: TritonInstallation,
    access: TritonAccess,
) -> Service:
    """`repositories` by the name of the engine in each."""
    mark = uuid.uuid4().hex
    gpu = installed_gpus().count > 0
    backends = lay_out_backends(installation, directory.path)
    server = ServerOptions(
        repositories=tuple(repositories.values()),
        access=access,
        metrics_port=options.triton_metrics_port,
        shm_prefix=f"conch_{mark}_",
        gpu=gpu,
        response_cache_bytes=sum(encoder.response_cache_bytes for encoder in _encoders(repositories)),
    )
    api = f"{access.http}/v2"
    stubs = StubWatch(mark, access)
    reports = EngineReports(directory.engine_states)
    heartbeats = HeartbeatWatch(directory.heartbeats, options.gateway.hang_timeout_s, reports.stall)
    recovery = EngineRecovery(repositories, server.shm_prefix, access, reports, stubs)
    return Service(
        name="triton",
        argv=hiding(server_argv(installation.binary, backends, server), access.secrets),
        environment={
            **server_environment(installation, os.environ, access),
            HEARTBEATS_VARIABLE: str(directory.heartbeats),
        },
        mark=mark,
        ready_urls=(f"{api}/health/ready",),
        parts={name: f"{api}/models/{name}/ready" for name in repositories},
        live_url=f"{api}/health/live",
        shm_prefix=server.shm_prefix,
        sockets=access.sockets,
        stop_timeout_s=server.exit_timeout_s + TRITON_STOP_MARGIN_S,
        max_silence_s=server.exit_timeout_s + TRITON_STOP_MARGIN_S,
        frozen_s=options.gateway.hang_timeout_s,
        stop_signal=signal.SIGINT if options.ranks.launcher == "single" else signal.SIGTERM,
        find_faults=(stubs.find_fault, heartbeats.find_fault),
        recover=recovery.recover if access.sockets and options.ranks.launcher == "single" else None,
        forget=(heartbeats.forget, recovery.forget),
        line_matters=partial(triton_line_matters, gpu=gpu, verbose=options.verbose),
    )


def gateway_service(
    options: ServeOptions, directory: RunDirectory, environ: Mapping[str, str], access: TritonAccess
) -> Service:
    settings = options.gateway.model_copy(
        update={
            "triton_grpc": (access.grpc,),
            "engine_states_file": directory.engine_states,
            "triton_metrics": f"{LOOPBACK}:{options.triton_metrics_port}",
        }
    )
    api_key = settings.api_key.get_secret_value() if settings.api_key else ""
    keys = {API_KEY_VARIABLE: api_key, KSERVE_KEY_VARIABLE: access.key or ""}
    return Service(
        name="gateway",
        argv=(sys.executable, "-m", "gateway", *to_flags(settings)),
        # What a killed gateway leaves in its temporary directory goes with that of this run.
        environment={**environ, **keys, "PYTHONUNBUFFERED": "1", "TMPDIR": str(directory.path)},
        mark=uuid.uuid4().hex,
        ready_urls=(f"{options.url}/health/ready",),
        live_url=f"{options.url}/health/live",
        # A parent of workers has nothing to do, and replaces those that hang.
        frozen_s=settings.hang_timeout_s if settings.workers == 1 else GATEWAY_MAX_SILENCE_S,
        max_silence_s=GATEWAY_MAX_SILENCE_S,
        stop_timeout_s=settings.shutdown_grace_s + GATEWAY_STOP_MARGIN_S,
    )


def _announce(
    options: ServeOptions,
    engines: Sequence[ServedEngine],
    started: float,
    announcement: str,
    missing: Collection[str],
) -> None:
    kinds = {engine.name: engine.kind for engine in engines if engine.name not in missing}
    message = ready_message(options, kinds, time.monotonic() - started, _this_command(), announcement)
    sys.stdout.write(message)
    sys.stdout.flush()


def ready_message(
    options: ServeOptions, kinds: Mapping[str, str], took_s: float, command: str = "conch", announcement: str = ""
) -> str:
    """What a person reads once everything answers; the keys appear only as what holds them.

    `kinds` of the engines by name.
    """
    authorization = f' -H "Authorization: Bearer ${API_KEY_VARIABLE}"' if options.gateway.needs_key else ""
    lines = [f"\nConch is ready: {options.url}  (engines: {', '.join(kinds)}; started in {took_s:.1f} s)"]
    if GENERATE in kinds.values():
        lines.append(f"  chat in a browser:  {options.url}/")
        lines.append(f"  chat in a terminal: {command} chat --url {options.url}/v1")
    for kind, (path, fields) in _EXAMPLES.items():
        if (name := next((name for name, of_kind in kinds.items() if of_kind == kind), None)) is not None:
            call = f"curl {options.url}{path}{authorization} -H 'Content-Type: application/json'"
            lines.append(f"""  {call} -d '{{"model": "{name}", {fields}}}'""")
    return "\n".join(lines) + f"\n{announcement}"


def _this_command() -> str:
    """How to call `conch` from here: its name where the shell finds it, else its path."""
    return "conch" if shutil.which("conch") else os.path.relpath(sys.argv[0])
