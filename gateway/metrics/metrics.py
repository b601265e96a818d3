"""One answer to a scrape: the gateway's own series, those of Triton and of the GPUs, and the names that others know."""

from __future__ import annotations

import asyncio
import logging
import platform
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from gateway.admission.tally import Tally
from gateway.answers.backend import Backend
from gateway.metrics import table
from gateway.metrics.certificate import ends_at
from gateway.metrics.engines import EngineNow, Engines
from gateway.metrics.gpus import Gpus
from gateway.metrics.names import gen_ai, router, vllm
from gateway.metrics.names.projection import Labels, gauge
from gateway.metrics.recorder import Recorder
from gateway.metrics.request_record import RequestRecord, Tracing
from gateway.metrics.triton import AllTritonMetrics
from gateway.settings import Settings
from triton_repo.contract.distribution import conch_version
from triton_repo.contract.steps import engine_name

logger = logging.getLogger(__name__)


class Metrics:
    """The metrics of one application; its own are those of all processes of the gateway.

    Args:
        tracing: makes a trace of each request.
    """

    def __init__(self, settings: Settings, backend: Backend, tally: Tally, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self._settings = settings
        self._names = frozenset(settings.metrics_names)
        self._tally = tally
        self._recorder = Recorder()
        self._engines = Engines(backend, tally)
        self._triton = AllTritonMetrics(settings.triton_metrics)
        self._gpus = Gpus()
        self._build = {"version": conch_version(), "python": platform.python_version()}

    def record(self, endpoint: str) -> RequestRecord:
        return RequestRecord(self._recorder, endpoint, self._tracing)

    def close(self) -> None:
        """Send the traces that wait; may take as long as their receiver."""
        if self._tracing is not None:
            self._tracing.close()

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that an Accept header asks for, else as plain text, and its content type."""
        by_server, gpus = await self._triton.families(), await self._gpus.families()
        triton = [family for families in by_server.values() for family in families]
        own = await asyncio.to_thread(lambda: list(self._recorder.collector.collect()))  # it may read files
        engines = await self._engines.now(triton, _engines_of(own, self._settings.other_models))
        families = _merged([*self._own(own, engines, by_server, gpus), *self._others(own, engines, triton)])
        return await asyncio.to_thread(_encoded, _Families(families), accept)

    def _own(
        self,
        own: Sequence[Metric],
        engines: Sequence[EngineNow],
        triton: Mapping[str, Sequence[Metric]],
        gpus: Sequence[Metric],
    ) -> list[Metric]:
        if "conch" not in self._names:
            return []
        up = _gauge(table.TRITON_UP, [({"server": server}, bool(read)) for server, read in triton.items()])
        return [*own, *self._looked_up(engines), *([up] if triton else []), *gpus]

    def _others(self, own: Sequence[Metric], engines: Sequence[EngineNow], triton: Sequence[Metric]) -> list[Metric]:
        others: list[Metric] = []
        if "triton" in self._names:
            others += triton
        if "router" in self._names:
            others += router.families(engines)
        if "vllm" in self._names:
            others += vllm.families(own, engines)
        if "gen_ai" in self._names:
            others += gen_ai.families(own, engines)
        return others

    def _looked_up(self, engines: Sequence[EngineNow]) -> list[Metric]:
        batches = {one.model: one.card.max_batch_size for one in engines if one.card is not None}
        return [
            _gauge(table.IN_FLIGHT, [({}, self._tally.total())]),
            _gauge(table.RUNNING, [({"model": one.model}, one.sent) for one in engines]),
            _gauge(table.WAITING, [({"model": one.model}, one.waiting_here) for one in engines]),
            _gauge(table.ENGINE_UP, [({"model": one.model}, one.is_up) for one in engines]),
            _gauge(table.MAX_BATCH, [({"model": model}, most) for model, most in batches.items() if most is not None]),
            _gauge(table.BUILD, [(self._build, 1)]),
            *self._of_files(),
        ]

    def _of_files(self) -> Iterator[Metric]:
        settings = self._settings
        if settings.tls_cert is not None:
            with suppress(OSError, ValueError):
                yield _gauge(table.CERTIFICATE, [({}, ends_at(settings.tls_cert))])
        if settings.store is not None:
            with suppress(OSError):
                disk = shutil.disk_usage(settings.store.parent)
                yield _gauge(table.DISK_FREE, [({}, disk.free)])
                yield _gauge(table.DISK, [({}, disk.total)])


class _Families:
    """What an encoder takes for a registry."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def _encoded(families: _Families, accept: str) -> tuple[bytes, str]:
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # from prometheus_client, which expects a version of numbers
        encode, content_type = choose_encoder("")
    return encode(families), content_type  # type: ignore[arg-type,unused-ignore]  # older ones ask for a registry


def _merged(families: Sequence[Metric]) -> list[Metric]:
    """One family of each name, as the format wants it: a Triton may have models that export the names of ours."""
    by_name: dict[str, Metric] = {}
    for family in families:
        first = by_name.setdefault(family.name, family)
        if first is not family:
            merged = by_name[family.name] = Metric(first.name, first.documentation, first.type)
            samples = {(sample.name, *sorted(sample.labels.items())): sample for sample in family.samples}
            samples |= {(sample.name, *sorted(sample.labels.items())): sample for sample in first.samples}
            merged.samples = list(samples.values())
    return list(by_name.values())


def _engines_of(own: Sequence[Metric], other_models: Collection[str]) -> set[str]:
    """The engines that requests were answered by, which are not `other_models`."""
    labels = (sample.labels for family in own for sample in family.samples)
    of_engines = (of for of in labels if of.get("model") and of["model"] not in other_models)
    return {engine_name(of["model"], int(of["version"])) for of in of_engines}


def _gauge(series: table.Series, samples: list[tuple[Labels, float]]) -> Metric:
    return gauge(series.name, series.help, samples)
