"""The two services of `conch serve`: tritonserver with its engines, and the gateway before it."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from gateway.settings import to_flags
from launch.health.engine_calls import EngineCalls
from launch.health.engine_models import EngineModels
from launch.health.heartbeats import HeartbeatWatch
from launch.health.other_models import OtherModels
from launch.health.recovery import EngineRecovery
from launch.health.reports import EngineReports
from launch.health.repository import ModelRepository
from launch.health.stubs import StubWatch
from launch.journal import LogLine, triton_line_matters
from launch.kserve import TritonAccess
from launch.placement.rate_limits import resource_arguments
from launch.ports import LOOPBACK
from launch.service import Service
from launch.serving.adapter_control import AdapterControl
from launch.serving.model_control import SETTLE_S, Loadable, ModelControl
from launch.serving.options import ServeOptions
from launch.serving.run_directory import RunDirectory
from launch.tritonserver import (
    ServerOptions,
    TritonInstallation,
    lay_out_backends,
    server_argv,
    server_environment,
)
from launch.wrappers.hidden_arguments import hiding
from triton_repo.contract.api_key import API_KEY_VARIABLE, KSERVE_KEY_VARIABLE
from triton_repo.contract.gpu import installed_gpus
from triton_repo.contract.health.adapter_shelf import ADAPTERS_VARIABLE
from triton_repo.contract.health.engine_states import UNLOADED
from triton_repo.contract.health.heartbeat import HEARTBEATS_VARIABLE
from triton_repo.contract.health.model_orders import Order, Outcome
from triton_repo.tracing.steps import ENDPOINT_VARIABLE

GATEWAY_STOP_MARGIN_S = 20.0  # beyond the gateway's own grace for open requests
GATEWAY_MAX_SILENCE_S = 30.0
TRITON_STOP_MARGIN_S = 5.0


def triton_service(
    options: ServeOptions,
    directory: RunDirectory,
    engines: Loadable,
    installation: TritonInstallation,
    access: TritonAccess,
) -> Service:
    mark = uuid.uuid4().hex
    backends = lay_out_backends(installation, directory.path)
    server = _server_options(options, engines, access, directory.note_mark(mark))
    api = f"{access.http}/v2"
    triton = Service(
        name="triton",
        argv=hiding(server_argv(installation.binary, backends, server), access.secrets),
        environment={
            **server_environment(installation, os.environ, access),
            HEARTBEATS_VARIABLE: str(directory.heartbeats),
            ADAPTERS_VARIABLE: str(directory.adapters),
            ENDPOINT_VARIABLE: options.gateway.otlp_endpoint,
        },
        mark=mark,
        ready_urls=(f"{api}/health/ready",),
        parts={name: f"{api}/models/{name}/ready" for name in engines.repositories},
        others={name: f"{api}/models/{name}/ready" for name in options.others},
        live_url=f"{api}/health/live",
        shm_prefix=server.shm_prefix,
        sockets=access.sockets,
        stop_timeout_s=server.exit_timeout_s + TRITON_STOP_MARGIN_S,
        max_silence_s=server.exit_timeout_s + TRITON_STOP_MARGIN_S,
        frozen_s=options.gateway.hang_timeout_s,
        stop_signal=signal.SIGINT if options.ranks.launcher == "single" else signal.SIGTERM,
        line_matters=partial(triton_line_matters, gpu=server.gpu, verbose=options.verbose),
    )
    return _with_engines(triton, options, directory, engines, access)


def _server_options(options: ServeOptions, engines: Loadable, access: TritonAccess, shm_prefix: str) -> ServerOptions:
    return ServerOptions(
        repositories=(*engines.repositories.values(), *dict.fromkeys(options.others.values())),
        access=access,
        metrics_port=options.triton_metrics_port,
        shm_prefix=shm_prefix,
        gpu=installed_gpus().count > 0,
        response_cache_bytes=sum(encoder.response_cache_bytes for encoder in engines.encoders),
        rate_limits=resource_arguments(options.rate_limit_resources, engines.encoders),
        control=options.control,
        auto_complete=bool(options.others),
        otlp_endpoint=options.gateway.otlp_endpoint,
    )


def _with_engines(
    triton: Service,
    options: ServeOptions,
    directory: RunDirectory,
    engines: Loadable,
    access: TritonAccess,
) -> Service:
    """With what watches, loads and starts again its engines one by one."""
    is_explicit = options.control == "explicit"
    is_controlled = is_explicit and options.ranks.launcher == "single"
    stubs = StubWatch(triton.mark, access, options.others, spares_others=not is_controlled)
    reports = EngineReports(directory.engine_states)
    heartbeats = HeartbeatWatch(directory.heartbeats, options.gateway.hang_timeout_s, reports.stall)
    models = EngineModels(engines.repositories, ModelRepository(access), stubs, triton.shm_prefix)
    recovery = EngineRecovery(models, reports)
    others = OtherModels(options.others, ModelRepository(access), stubs, triton.shm_prefix)
    control = ModelControl(models, reports, engines.check_placement)
    adapters = AdapterControl(
        engines.repositories, directory.adapters, options.adapters_directory, EngineCalls(access), reports, SETTLE_S
    )
    for engine in options.available:
        reports.set_absent(engine, UNLOADED)
    return replace(
        triton,
        find_faults=(stubs.find_fault, heartbeats.find_fault),
        recover=partial(_recover, recovery, others) if is_controlled else None,
        carry_out=partial(_carry_out, control, adapters) if is_controlled else None,
        more_arguments=partial(_models_to_load, control, options) if is_explicit else tuple,
        not_wanted=lambda: reports.absent,
        forget=(heartbeats.forget, recovery.forget),
    )


async def _recover(engines: EngineRecovery, others: OtherModels, name: str, server: int, log: LogLine) -> bool:
    if name not in others.names:
        return await engines.recover(name, server, log)
    await others.load_again(name, log)
    return True


async def _carry_out(engines: ModelControl, adapters: AdapterControl, order: Order) -> Outcome:
    return await (adapters if order.adapter else engines).carry_out(order)


def _models_to_load(control: ModelControl, options: ServeOptions) -> tuple[str, ...]:
    return (*control.arguments(), *(f"--load-model={name}" for name in options.others))


def gateway_service(
    options: ServeOptions, directory: RunDirectory, environ: Mapping[str, str], access: TritonAccess
) -> Service:
    settings = options.gateway.model_copy(
        update={
            "triton_grpc": (access.grpc,),
            "engine_states_file": directory.engine_states,
            "orders_socket": directory.orders,
            "triton_metrics": (f"{LOOPBACK}:{options.triton_metrics_port}",),
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
