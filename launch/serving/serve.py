"""`conch serve`: from engines and ports to the two services that serve them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from launch.journal import Journal
from launch.kserve import triton_access
from launch.placement.check import Configuration, check_placement
from launch.placement.machine import this_machine
from launch.ports import claimed_ports
from launch.ranks import ranked_argv
from launch.service import Service
from launch.serving.announcement import ready_message, this_command
from launch.serving.control_socket import taking_orders
from launch.serving.engines import ServedEngine, build_engines, check_encoders, check_names
from launch.serving.model_control import CheckPlacement, Loadable
from launch.serving.options import ServeOptions
from launch.serving.other_models import check_apart, check_required, python_models
from launch.serving.output import announce, lossy_stderr
from launch.serving.run_directory import RunDirectory, run_directory
from launch.serving.services import gateway_service, triton_service
from launch.shared_memory import check_shared_memory
from launch.supervisor import Supervisor
from launch.tritonserver import TritonInstallation, find_tritonserver
from triton_repo.contract.distribution import installed_version
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.model_card import GENERATE
from triton_repo.contract.steps import STEPS, engine_version
from triton_repo.embed.settings import EncoderConfig
from triton_repo.engine.runtimes.tensorrt_llm.engine import check_engine, installed


@lossy_stderr()
def serve(options: ServeOptions) -> None:
    """Build what is not built, serve it, and return after a stop signal, drained."""
    started = time.monotonic()
    installation = find_tritonserver(os.environ)
    options.check()
    with claimed_ports(options.listeners), run_directory() as directory:  # which frees what killed runs hold
        _serve(options, installation, directory, started)


def _serve(options: ServeOptions, installation: TritonInstallation, directory: RunDirectory, started: float) -> None:
    check_shared_memory(len(STEPS) * len(options.engines + options.available) + len(python_models(options.others)))
    journal = Journal(Console(stderr=True))
    engines = _engines(options.engines, journal)
    others = _engines(options.available, journal) if options.available else ()
    check_names(engine.name for engine in engines + others)
    check_apart((engine.name for engine in engines + others), options.others)
    check_required(options.gateway.required_models, [*(engine.name for engine in engines), *options.others])
    first = next((engine for engine in engines if engine.kind == GENERATE), engines[0])  # clients chat with it
    settings = options.gateway.model_copy(
        update={"first_model": engine_version(first.name)[0], "other_models": tuple(options.others)}
    )
    options = replace(options, gateway=settings, available=tuple(engine.name for engine in others))
    with directory.hold_repositories(engines + others) as repositories:
        access = triton_access(options.kserve, directory.path, os.environ)
        directories = [repository.resolve().parent for repository in repositories.values()]
        configurations, encoders = _configurations(directories), _encoders(directories)
        check = _check_of_placement(options, (*configurations, *encoders))
        check([name for name in repositories if name not in options.available])
        options = replace(options, others=directory.without_blanks(options.others))
        triton = triton_service(options, directory, Loadable(repositories, encoders, check), installation, access)
        argv = ranked_argv(triton.argv, options.ranks, configurations, triton.environment)
        gateway = gateway_service(options, directory, os.environ, access)
        services = (replace(triton, argv=(_program(argv[0]), *argv[1:])), gateway)
        on_ready = partial(_announce, options, engines, started, access.announcement)
        asyncio.run(_run(services, journal, directory.orders, on_ready))


async def _run(
    services: Sequence[Service], journal: Journal, orders: Path, on_ready: Callable[[Collection[str]], None]
) -> None:
    supervisor = Supervisor(services, journal)
    carry_out = services[0].carry_out
    async with taking_orders(orders, carry_out) if carry_out else nullcontext():
        await supervisor.run(lambda: on_ready(supervisor.missing))


def _configurations(directories: Iterable[Path]) -> tuple[EngineConfig, ...]:
    """Those of engines that this machine can run; LaunchError if it cannot run one."""
    directories = [each for each in directories if EngineDirectory(each).config_file.is_file()]
    configurations = tuple(map(EngineConfig.load, directories))
    for directory, configuration in zip(directories, configurations, strict=True):
        if configuration.runtime == "tensorrt_llm":
            check_engine(EngineDirectory(directory).model.path, configuration, installed())
    return configurations


def _encoders(directories: Iterable[Path]) -> tuple[EncoderConfig, ...]:
    """The same of encoders."""
    directories = [each for each in directories if EngineDirectory(each).encoder_config_file.is_file()]
    found = tuple(map(EncoderConfig.load, directories))
    check_encoders((encoder.name for encoder in found), installed_version("openvino"))
    return found


def _check_of_placement(options: ServeOptions, configurations: Sequence[Configuration]) -> CheckPlacement:
    """Of engines, by name, that are to be loaded together; the ranks of other launchers are placed by those."""

    def check(names: Collection[str]) -> None:
        if options.ranks.launcher == "single":
            check_placement([each for each in configurations if each.name in names], this_machine(os.environ))

    return check


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise LaunchError(f"{name} is not installed here, or not on the PATH")
    return path


def _engines(specs: Sequence[str], journal: Journal) -> tuple[ServedEngine, ...]:
    from build_scripts.build import ensure_engine  # building is the heavy half of Conch

    return build_engines(specs, ensure_engine, partial(journal, "conch"))


def _announce(
    options: ServeOptions,
    engines: Sequence[ServedEngine],
    started: float,
    announcement: str,
    missing: Collection[str],
) -> None:
    kinds = {engine.name: engine.kind for engine in engines if engine.name not in missing}
    if others := [name for name in options.others if name not in missing]:
        announcement = f"  other models:       {options.url}/v2/models/NAME: {', '.join(others)}\n{announcement}"
    announce(ready_message(options, kinds, time.monotonic() - started, this_command(), announcement))
