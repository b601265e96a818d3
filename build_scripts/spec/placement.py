"""`[placement]` of a spec: which GPUs and CPUs the instances of an engine use, and Triton's rate limiter and queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from build_scripts.spec.errors import Problem
from triton_repo.contract.placement.cpus import read_cpus
from triton_repo.contract.placement.settings import MAX_PRIORITY, Placement, RateLimiter

_MAX_INSTANCES: Final = 64
_RESOURCE: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"


def _one_set_in_a_list(value: Any) -> Any:
    """Of one instance the set may stand by itself: `gpus = [0, 1]`, `cpus = "0-3"`."""
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        return [value]
    return [value] if isinstance(value, str) else value


def _cpus(text: str) -> str:
    read_cpus(text)
    return text


_Gpus = tuple[Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], Field(strict=False, min_length=1)], ...]
_Cpus = tuple[Annotated[str, AfterValidator(_cpus)], ...]
_Sets = (BeforeValidator(_one_set_in_a_list), Field(strict=False, min_length=1, max_length=_MAX_INSTANCES))


class RateLimiterSection(BaseModel):
    """`[placement.rate_limiter]`: what a call of the model takes of what all models of the server share.

    `resources` are units by name, as `{gpu0 = 2}`: there are as many of each as the model that takes most of it says,
    or as `conch serve --rate-limit-resource` says. Of models that wait for the same, one of `priority` 2 gets half as
    many turns as one of 1.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    resources: Annotated[
        dict[Annotated[str, Field(pattern=_RESOURCE)], Annotated[int, Field(ge=1, le=1_000_000)]],
        Field(min_length=1, max_length=16),
    ]
    priority: Annotated[int, Field(ge=1, le=MAX_PRIORITY)] = 1


class PlacementSection(BaseModel):
    """`[placement]`: a change here needs no new build.

    `instances` run side by side; None is as many as there are sets of GPUs or CPUs, or one. `gpus`, for tensorrt_llm:
    the GPUs of each instance by the numbers of `nvidia-smi`, one for each rank; None is the first ones. `cpus`, for
    engines on the CPU: those that the threads of each instance run on, as `0-3,8`; None is every one. The last three
    are for encoders: Triton's rate limiter, and the priorities of requests that wait in Triton, of which 1 is served
    first and `default_priority_level` (None is the middle one) is what a request has that names none.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    instances: Annotated[int, Field(ge=1, le=_MAX_INSTANCES)] | None = None
    gpus: Annotated[_Gpus, *_Sets] | None = None
    cpus: Annotated[_Cpus, *_Sets] | None = None
    rate_limiter: RateLimiterSection | None = None
    priority_levels: Annotated[int, Field(ge=1, le=64)] | None = None
    default_priority_level: Annotated[int, Field(ge=1, le=64)] | None = None

    @property
    def num_instances(self) -> int:
        return self.instances or len(self.gpus or self.cpus or ()) or 1

    def config(self) -> Placement:
        """The section as the engine reads it."""
        levels = self.priority_levels or 0
        limiter = self.rate_limiter
        return Placement(
            instances=self.num_instances,
            gpus=self.gpus or (),
            cpus=tuple(map(read_cpus, self.cpus or ())),
            rate_limiter=RateLimiter.model_validate(limiter.model_dump()) if limiter else None,
            priority_levels=levels,
            default_priority_level=self.default_priority_level or (levels + 1) // 2,
        )


def broken_placement_rules(
    placement: PlacementSection, runtime: str, num_ranks: int, num_threads: int | None
) -> Iterator[Problem]:
    """Rules across keys; `num_ranks` each need a GPU, `num_threads` each a CPU."""
    if runtime != "embed" and placement.num_instances > 1:
        yield Problem("placement.instances", placement.num_instances, f"must be 1 where runtime = {runtime}")
    sets: Mapping[str, tuple[object, ...] | None] = {"gpus": placement.gpus, "cpus": placement.cpus}
    for key, given in sets.items():
        if given is not None and len(given) != placement.num_instances:
            rule = f"must have a set for each of placement.instances ({placement.num_instances})"
            yield Problem(f"placement.{key}", given, rule)
    for gpus in placement.gpus or ():
        if len(set(gpus)) != num_ranks or len(gpus) != num_ranks:
            rule = f"must be {num_ranks} different GPUs: build.tensor_parallel × build.pipeline_parallel ranks"
            yield Problem("placement.gpus", gpus, rule)
    for text in placement.cpus or ():
        if num_threads is not None and num_threads > len(read_cpus(text)):
            yield Problem("serve.num_threads", num_threads, f"must be ≤ the CPUs of placement.cpus ({text})")
    level, levels = placement.default_priority_level, placement.priority_levels
    if level is not None and level > (levels or 0):
        rule = f"must be ≤ placement.priority_levels ({levels or 'which is not given'})"
        yield Problem("placement.default_priority_level", level, rule)
