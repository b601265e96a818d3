"""What the demo engine answers to schemas, and whether the answers match them.

The model is too weak to keep to any schema by itself, so what matches is the work of the grammars.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jsonschema_rs
from tokenizers import Tokenizer

from build_scripts.build import ensure_engine
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import RequestError
from triton_repo.contract.sampling import Guide, Sampling
from triton_repo.detokenize.detokenizer import make_detokenizer
from triton_repo.engine.guides.queue import guide_validator
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation
from triton_repo.engine.schema.keywords import not_enforced

Outcome = Literal["valid", "invalid", "truncated", "rejected"]
PROMPT = "Answer in JSON."
MAX_TOKENS = 400


@dataclass(frozen=True)
class Case:
    """A schema, and where it is from."""

    name: str
    schema: Any
    draft: str = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Answered:
    case: Case
    outcome: Outcome
    text: str  # of the answer, or of the error

    @property
    def enforced(self) -> bool:
        """Whether the grammar alone is to make the answer match."""
        return not any(not_enforced(self.case.schema))


def cases_in(directory: Path) -> Iterator[Case]:
    """Of a JSON-Schema-Test-Suite, of files of one schema each, and of JSON lines."""
    for path in sorted(directory.rglob("*.json*")):
        name = path.relative_to(directory).as_posix()
        draft = "http://json-schema.org/draft-07/schema" if "draft7" in name else Case.draft
        text = path.read_text(encoding="utf-8")
        contents = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
        for content in contents:
            groups = content if isinstance(content, list) else [{"schema": content.get("json_schema", content)}]
            for number, group in enumerate(groups):
                schema = json.loads(group["schema"]) if isinstance(group["schema"], str) else group["schema"]
                yield Case(f"{name}#{number}", schema, draft)


def answers(cases: Iterable[Case], max_tokens: int = MAX_TOKENS) -> Iterator[Answered]:
    directory = ensure_engine("demo").directory
    config = EngineConfig.load(directory)
    tokenizer = Tokenizer.from_file(str(EngineDirectory(directory).tokenizer_file))
    with closing(OpenVinoRuntime(directory / "model", config)) as runtime:
        with closing(guide_validator(directory, config)) as validator:
            running: dict[int, Case] = {}
            for key, case in enumerate(cases):
                try:
                    judge_of(case)
                    guide = validator.validate(Guide("json_schema", json.dumps(case.schema)))
                except (RequestError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
                    yield Answered(case, "rejected", str(error).partition("\n")[0])
                    continue
                runtime.prepare(guide)
                ids = tokenizer.encode(PROMPT).ids
                sampling = Sampling(temperature=1.0, seed=key).guided_by(guide)
                runtime.submit(Generation(key, ids, max_tokens, config.eos_token_ids, sampling))
                running[key] = case
        yield from _finished(runtime, running, tokenizer, config.eos_token_ids)


def _finished(
    runtime: OpenVinoRuntime, running: dict[int, Case], tokenizer: Tokenizer, eos: tuple[int, ...]
) -> Iterator[Answered]:
    detokenizer = make_detokenizer(tokenizer)
    ids: dict[int, list[int]] = {key: [] for key in running}
    while runtime.idle_s() is not None:
        for delta in runtime.step():
            ids[delta.key] += delta.token_ids
            if delta.error is not None:
                raise delta.error
            if delta.finish_reason:
                text = detokenizer.delta([id for id in ids[delta.key] if id not in eos], 0, final=True)
                case = running[delta.key]
                yield Answered(case, "truncated" if delta.finish_reason == "length" else _judged(case, text), text)


def _judged(case: Case, text: str) -> Outcome:
    try:
        value = json.loads(text)
    except ValueError:
        return "invalid"
    return "valid" if judge_of(case).is_valid(value) else "invalid"


def judge_of(case: Case) -> Any:
    """What says whether a value matches. Raises what jsonschema_rs raises of what is no schema."""
    schema = case.schema
    if isinstance(schema, dict):
        schema = {"$schema": case.draft, **schema}
    return jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
