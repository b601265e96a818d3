"""From the name that a client gives a model to the engine that answers: a pure function of names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from gateway.catalog.arms import Arm, pick_arm
from gateway.catalog.names import ModelName, read_name
from gateway.catalog.rules import Rules, Target
from triton_repo.contract.steps import engine_name, engine_version


@dataclass(frozen=True, slots=True)
class Resolution:
    """
    Attributes:
        requested: the name as the client gave it, for the answer.
        engine: the model of Triton that answers; whether it is there, only its card tells.
        name: that of the engine without its version.
        arm: of a weighted split, the one that was drawn; empty where nothing was.
        adapter: of the engine, that is to be used; None is none.
    """

    requested: str
    engine: str
    name: str
    version: int
    arm: str = ""
    adapter: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All that this model is called, for a key that may use some models only."""
        return self.requested, self.name, f"{self.name}@{self.version}"


def resolve(requested: str, rules: Rules, engines: Collection[str], client: str) -> Resolution:
    """Which of the `engines` that are ready answers; where none does, the one whose absence is to be told.

    In this order: the name of a model, an alias, NAME@VERSION, NAME by its policy; :ADAPTER may follow each. `client`
    is what a split draws by.
    """
    return _Question(requested, rules, versions_of(engines), client).answer()


def versions_of(engines: Collection[str]) -> Mapping[str, Collection[int]]:
    """The versions of each model, by its name."""
    versions: dict[str, set[int]] = {}
    for engine in engines:
        name, version = engine_version(engine)
        versions.setdefault(name, set()).add(version)
    return versions


@dataclass(frozen=True, slots=True)
class _Question:
    requested: str
    rules: Rules
    ready: Mapping[str, Collection[int]]
    client: str

    def answer(self) -> Resolution:
        aliases, name = self.rules.aliases, read_name(self.requested)
        if self.requested in self.ready:
            return self._named(ModelName(self.requested))
        if self.requested in aliases:
            return self._behind(self.requested, aliases[self.requested])
        if name.base in aliases and name.base not in self.ready:
            return _narrowed(self._behind(name.base, aliases[name.base]), name)
        return self._named(name)

    def _behind(self, alias: str, target: Target) -> Resolution:
        if isinstance(target, str):
            return self._named(read_name(target))
        arm = self._drawn(alias, target, {name for name in target if self._is_ready(read_name(name))})
        return replace(self._named(read_name(arm)), arm=arm)

    def _named(self, name: ModelName) -> Resolution:
        version, arm = (name.version, "") if name.version else self._by_policy(name.base)
        return Resolution(self.requested, engine_name(name.base, version), name.base, version, arm, name.adapter)

    def _by_policy(self, name: str) -> tuple[int, str]:
        """The version, and the arm where it was drawn."""
        policy, ready = self.rules.versions.get(name, "latest"), self.ready.get(name, ())
        if isinstance(policy, int):
            return policy, ""
        if isinstance(policy, str):
            return max(ready, default=1), ""
        version = self._drawn(name, policy, ready)
        return version, f"{name}@{version}"

    def _drawn(self, split: str, weights: Mapping[Arm, int], ready: Collection[Arm]) -> Arm:
        """Arms that are not ready leave their share to the others."""
        present = {arm: weight for arm, weight in weights.items() if arm in ready}
        return pick_arm(split, present if any(present.values()) else weights, self.client)

    def _is_ready(self, name: ModelName) -> bool:
        ready = self.ready.get(name.base, ())
        return bool(ready) if name.version is None else name.version in ready


def _narrowed(found: Resolution, name: ModelName) -> Resolution:
    """The same with the version and the adapter that were given behind an alias."""
    version = name.version or found.version
    adapter = name.adapter or found.adapter
    return replace(found, engine=engine_name(found.name, version), version=version, adapter=adapter)
