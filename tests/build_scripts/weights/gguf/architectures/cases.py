"""Small configurations of every architecture that is read."""

from __future__ import annotations

from collections.abc import Mapping

from tests.build_scripts.weights.gguf.architectures import decoders, mixtures
from tests.build_scripts.weights.gguf.architectures.values import Case

CASES: Mapping[str, Case] = {**decoders.CASES, **mixtures.CASES}
