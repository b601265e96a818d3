"""The forms of TensorRT-LLM's LLM API that Conch runs on, by the version that is installed.

    1.2    1.2.1                 compiled engines and the PyTorch flow
    1.3    1.3.0rc26 up to 1.4   the PyTorch flow alone

Between them compiled engines have gone (after 1.3.0rc20) while the sampler that came instead still ignored penalties,
`min_p` and seeds of a request in part.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from triton_repo.contract.distribution import installed_version

LlmApi = Literal["1.2", "1.3"]

SUPPORTED: Final = "1.2.1 (compiled engines and the PyTorch flow) or 1.3.0rc26 to 1.4 (the PyTorch flow)"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:rc(\d+))?(?:\.post\d+)?(?:\+.*)?")
_FIRST_CANDIDATE: Final = 26  # of 1.3.0


def llm_api_of(version: str) -> LlmApi | None:
    """The LLM API of a version of TensorRT-LLM; None for one that Conch does not run on."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    major, minor, patch = (int(match[group]) for group in (1, 2, 3))
    candidate = int(match[4]) if match[4] else None
    if (major, minor, patch, candidate) == (1, 2, 1, None):
        return "1.2"
    if (major, minor) == (1, 3):
        return "1.3" if patch or candidate is None or candidate >= _FIRST_CANDIDATE else None
    return "1.3" if (major, minor) == (1, 4) else None


def installed_llm_api() -> LlmApi | None:
    """That of the TensorRT-LLM that is installed here; None where there is none that Conch runs on."""
    version = installed_version("tensorrt_llm")
    return None if version is None else llm_api_of(version)
