"""A stand-in for Triton's Python backend, which exists only inside of its stubs: put `PATH` on the search path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from tests.conftest import ROOT

PATH = str(Path(__file__).parent)


def load_model(name: str) -> ModuleType:
    """The `model.py` of one of the Triton models in `triton_repo/`."""
    spec = importlib.util.spec_from_file_location(f"{name}_model", ROOT / "triton_repo" / name / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
