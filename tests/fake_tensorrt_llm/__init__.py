"""Stand-ins for TensorRT-LLM, one for each LLM API, for machines without a GPU: put `paths(VERSION)` on Python's path.

    shared/     what they have in common, and the libraries that read guides
    v1_2/       1.2.1: compiled engines and the PyTorch flow
    v1_3/       1.4.0rc1: the PyTorch flow alone

Each has the part of the LLM API that Conch uses, by the signatures of that version, and rejects what that version
rejects, with errors of the same kinds. An answer is the prompt, over and over until `max_tokens`, or once and then the
end id; to a guide, the guide's own text. Some token ids in a prompt make trouble: see `shared/tensorrt_llm/_stand_in`.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

Version = Literal["1.2.1", "1.4.0rc1"]

_HERE: Final = Path(__file__).parent
_FOLDERS: Final[dict[Version, str]] = {"1.2.1": "v1_2", "1.4.0rc1": "v1_3"}
GUIDE_LIBRARIES: Final = str(_HERE / "shared")


def paths(version: Version) -> list[str]:
    return [str(_HERE / _FOLDERS[version]), GUIDE_LIBRARIES]


@contextmanager
def importable(version: Version) -> Iterator[None]:
    """In this process, as if it were installed; afterwards it never was. An engine that is opened sets variables."""
    added, environment = paths(version), dict(os.environ)
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [path for path in sys.path if path not in added]
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt_llm"]:
            del sys.modules[name]
        os.environ.clear()
        os.environ.update(environment)


def install(directory: Path, version: Version) -> Path:
    """A Python environment in `directory` that has what this one has, and the stand-in; its interpreter.

    Triton's stubs ignore PYTHONPATH: what they are to find must be installed.
    """
    venv.create(directory, symlinks=True)
    packages = next(directory.glob("lib/python3*/site-packages"))
    these = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
    (packages / "stand_in.pth").write_text("\n".join([these, *paths(version), ""]))
    return directory / "bin" / "python3"
