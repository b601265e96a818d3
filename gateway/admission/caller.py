"""Who asks: the holder of a key, and what that key may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.admission.quota import NO_LIMITS, Limits
from triton_repo.contract.errors import ModelNotFound

CALLER: Final = "conch.caller"  # of an ASGI scope


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is empty where no key is needed; `models` None are all; requests of a `batch` one wait for all others."""

    name: str = ""
    limits: Limits = NO_LIMITS
    models: frozenset[str] | None = None
    batch: bool = False

    def may_use(self, *names: str) -> bool:
        """`names` are all that one model is called."""
        return self.models is None or not self.models.isdisjoint(names)

    def check_may_use(self, model: str, *other_names: str) -> None:
        """
        Raises:
            ModelNotFound: it may not; the error is that of a model that does not exist.
        """
        if not self.may_use(model, *other_names):
            raise ModelNotFound(f"model {model[:200]!r} does not exist or is not ready", "model")


ANYONE: Final = Caller()
