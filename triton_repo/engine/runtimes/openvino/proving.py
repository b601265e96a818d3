"""Whether OpenVINO's pipeline can follow a guide: tried in a pipeline like it, before the engine's own gets it.

A guide that the pipeline cannot follow makes a step fail, and with it all requests. It may also be one that cannot be
followed in time, or one that no answer matches, which goes unnoticed: the pipeline then takes the first token of all.
"""

from __future__ import annotations

import json
import math
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.guides import Compiler
from triton_repo.engine.runtimes.openvino.vocabulary import vocabulary_of
from triton_repo.engine.schema.convert import grammar_of, grammar_of_regex

_ANY_OBJECT: Final = {"type": "object"}
_STACK_BYTES: Final = 4 << 20  # half of what a thread of the engine has: what passes here does not end that
_TRIED_TOKENS: Final = 32  # of an answer; a grammar that is slow to follow is slower with each
_WHERE: Final = re.compile(r"^.*\.(?:cc|cpp|h):\d+:\s*", re.DOTALL)  # in the source of what raises


def enforced_by(engine_directory: str) -> Callable[[Guide], Guide]:
    """What raises ValueError with the reason why the engine cannot follow a guide."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, most))
    engine = EngineDirectory(Path(engine_directory))
    config = EngineConfig.load(engine.path)
    # One more token in front, which no grammar allows: it is taken only where the grammar allows no token at all.
    compiler = Compiler(vocabulary_of(engine, config).after(b""))

    def enforced(guide: Guide) -> Guide:
        guide = as_grammar(guide)
        try:
            ids = compiler.follow(guide, _TRIED_TOKENS)
        except RuntimeError as error:
            raise ValueError(_WHERE.sub("", str(error))) from error
        if 0 in ids:
            raise ValueError("no answer of this model can match it")
        return guide

    return enforced


def as_grammar(guide: Guide) -> Guide:
    """JSON schemas and regular expressions as grammars of our own, wherever they stand.

    In XGrammar's (0.1.31) whitespace never ends, and of alternatives that begin alike it allows more than there are.

    Raises:
        ValueError: one cannot be expressed as a grammar.
    """
    if guide.kind == "json":
        return Guide("ebnf_grammar", grammar_of(_ANY_OBJECT))
    if guide.kind == "json_schema":
        return Guide("ebnf_grammar", grammar_of(_json(guide.text or "")))
    if guide.kind == "regex":
        return Guide("ebnf_grammar", grammar_of_regex(guide.text or ""))
    if guide.kind == "structural_tag":
        return Guide("structural_tag", json.dumps(_with_grammars(_json(guide.text or "")), ensure_ascii=False))
    return guide


def _with_grammars(tag: Any) -> Any:
    if isinstance(tag, list):
        return [_with_grammars(each) for each in tag]
    if not isinstance(tag, dict):
        return tag
    if tag.get("type") == "json_schema" and tag.get("style", "json") == "json":
        return {"type": "grammar", "grammar": grammar_of(tag.get("json_schema"))}
    if tag.get("type") == "regex":
        return {"type": "grammar", "grammar": grammar_of_regex(str(tag.get("pattern")))}
    return {key: _with_grammars(value) for key, value in tag.items()}


def _json(text: str) -> Any:
    """Raises: ValueError: it is none, or has a number that JSON has not."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]}: JSON has no such number")
    return number
