"""Whether OpenVINO's pipeline can follow a guide: tried in a pipeline like it, before the engine's own gets it.

A guide that the pipeline cannot follow makes a step fail, and with it all requests. It may also be one that cannot be
followed in time, or one that no answer matches, which goes unnoticed: the pipeline then takes the first token of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.guides import Compiler
from triton_repo.engine.runtimes.openvino.vocabulary import vocabulary_of

ANY_OBJECT: Final = '{"type": "object"}'
_TRIED_TOKENS: Final = 32  # of an answer; a grammar that is slow to follow is slower with each
_WHERE: Final = re.compile(r"^.*\.(?:cc|cpp|h):\d+:\s*", re.DOTALL)  # in the source of what raises


def enforced_by(engine_directory: str) -> Callable[[Guide], Guide]:
    """What raises ValueError with the reason why the engine cannot follow a guide."""
    engine = EngineDirectory(Path(engine_directory))
    config = EngineConfig.load(engine.path)
    # One more token in front, which no grammar allows: it is taken only where the grammar allows no token at all.
    compiler = Compiler([b"", *vocabulary_of(engine, config)])
    end_ids = [1 + id for id in config.eos_token_ids]

    def enforced(guide: Guide) -> Guide:
        guide = with_text(guide)
        try:
            ids = compiler.follow(guide, end_ids, _TRIED_TOKENS)
        except RuntimeError as error:
            raise ValueError(_WHERE.sub("", str(error))) from error
        if 0 in ids:
            raise ValueError("no answer of this model can match it")
        return guide

    return enforced


def with_text(guide: Guide) -> Guide:
    """Plain JSON as a schema."""
    return Guide("json_schema", ANY_OBJECT) if guide.text is None else guide
