"""A family under another name and with other labels: what others' boards and routers look for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import Metric

from gateway.metrics.table import Series

Labels = Mapping[str, str]
Relabel = Callable[[Labels], Labels | None]


def project(family: Metric, name: str, relabel: Relabel) -> Metric:
    """The family as `name`; series that get the same labels are added up, and those that get None left out."""
    projected = Metric(name, family.documentation, family.type)
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for sample in family.samples:
        bound = {"le": sample.labels["le"]} if "le" in sample.labels else {}
        labels = relabel({label: value for label, value in sample.labels.items() if label != "le"})
        if labels is not None:
            key = (name + sample.name.removeprefix(family.name), tuple({**labels, **bound}.items()))
            sums[key] = sums.get(key, 0) + sample.value
    for (sample_name, items), value in sums.items():
        projected.add_sample(sample_name, dict(items), value)
    return projected


def renamed(own: Sequence[Metric], series: Mapping[str, Series], relabel: Relabel) -> list[Metric]:
    """The families of these series, those that there are, by their other names."""
    by_name = {family.name: family for family in own}
    return [project(by_name[one.name], name, relabel) for name, one in series.items() if one.name in by_name]


def gauge(name: str, help: str, samples: list[tuple[Labels, float]]) -> Metric:
    family = Metric(name, help, "gauge")
    for labels, value in samples:
        family.add_sample(name, dict(labels), value)
    return family
