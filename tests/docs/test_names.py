"""What the documentation names exists, and what exists is named."""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from build_scripts.spec.engine_spec import EngineSpec
from gateway.dialects.openai.parameters import UNSUPPORTED
from gateway.dialects.openai.requests.chat import ChatCompletionRequest
from gateway.dialects.openai.requests.completion import CompletionRequest
from gateway.dialects.responses.request import ResponsesRequest
from gateway.endpoints.encode import BODIES as ENCODER_BODIES
from tests.docs import commands
from tests.docs.pages import PAGES, README, ROOT, codes, examples, long_flags, table_names, tokens

ENGINES_PAGE = ROOT / "engines" / "README.md"
API_PAGE = ROOT / "docs" / "api.md"
MAX_README_LINES = 180
SOURCES = ("build_scripts", "gateway", "launch", "triton_repo")
WILDCARDS = {"sampling.*"}  # a section whose keys are documented elsewhere: as parameters of requests
# Flags of programs that are not ours.
FOREIGN_FLAGS = {"--enable-shared", "--help", "--hostname", "--shm-size", "--ulimit"} | {
    # Of tritonserver.
    "--http-max-input-size",
    "--http-restricted-api",
    # Of NVIDIA's OpenAI frontend.
    "--default-max-tokens",
    "--enable-kserve-frontends",
    "--max-tool-call-parse-bytes",
    "--model-control-mode",
    "--tokenizer",
    "--tool-call-parser",
    # Of NVIDIA's end_to_end_grpc_client.py.
    "--bad-words",
    "--batch-inputs",
    "--beam-width",
    "--end-id",
    "--guided-decoding-guide",
    "--lora-path",
    "--num-return-sequences",
    "--repetition-penalty",
    "--return-context-logits",
    "--return-log-probs",
    "--stop-words",
    "--streaming",
}


def spec_keys(model: type[BaseModel] = EngineSpec, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        sections = [one for one in (field.annotation, *typing.get_args(field.annotation)) if _is_model(one)]
        if sections:
            yield from spec_keys(sections[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _is_model(annotation: object) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def section_of(key: str) -> str:
    return f"{key.rpartition('.')[0]}.*"


def flags_of_benchmarks() -> set[str]:
    """Those of `python -m bench.…`, `deploy.…` and `tests.soak.…`, which have no commands of their own."""
    files = [file for folder in ("bench", "deploy", "tests/soak") for file in (ROOT / folder).rglob("*.py")]
    sources = [file.read_text(encoding="utf-8") for file in files]
    return {flag for source in sources for flag in re.findall(r'add_argument\("(--[a-z-]+)"', source)}


def test_the_page_of_commands_is_the_one_that_the_code_writes() -> None:
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "run .venv/bin/python -m tests.docs.commands"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_in_the_text_exists(page: Path) -> None:
    known = {name for verb in commands.verbs().values() for option in verb.params for name in option.opts}
    known |= {name for verb in commands.verbs().values() for option in verb.params for name in option.secondary_opts}
    known |= set(commands.gateway_flags()) | FOREIGN_FLAGS | flags_of_benchmarks()
    assert {flag for code in codes(page) for flag in long_flags(code)} - known == set()


def test_every_key_of_a_spec_is_documented_and_every_documented_key_exists() -> None:
    documented = table_names(ENGINES_PAGE, "key")
    keys = {key for key in spec_keys() if section_of(key) not in WILDCARDS}
    assert documented - WILDCARDS == keys


def test_every_parameter_of_a_request_is_documented_and_every_documented_one_exists() -> None:
    bodies: tuple[type[BaseModel], ...] = (ChatCompletionRequest, CompletionRequest, ResponsesRequest, *ENCODER_BODIES)
    known = set[str]().union(*(body.model_fields for body in bodies))
    assert table_names(API_PAGE, "parameter") == known


@pytest.mark.parametrize("page", [README, API_PAGE], ids=lambda page: page.name)
def test_no_page_names_a_parameter_as_working_that_is_rejected(page: Path) -> None:
    rejected = UNSUPPORTED.keys() - set[str]().union(*(body.model_fields for body in ENCODER_BODIES))
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "code_inline" and child.content in rejected:
                assert re.search("reject|not supported|Not yet|unsupported", token.content), token.content


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for token in tokens(page):
        for child in token.children or ():
            target = str(child.attrGet("href") or child.attrGet("src") or "")
            if not target or target.startswith("http"):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name) if name else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """Headings as GitHub names them in a URL."""
    found = tokens(page)
    titles = [following.content for token, following in itertools.pairwise(found) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_the_text_names_exists(page: Path) -> None:
    for code in codes(page):
        if re.fullmatch(r"(build_scripts|triton_repo|launch|gateway|bench|docker|docs|tests)/[\w./-]*", code):
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_message_in_a_table_of_symptoms_is_one_of_ours(page: Path) -> None:
    sources = (file.read_text(encoding="utf-8") for folder in SOURCES for file in (ROOT / folder).rglob("*.py"))
    text = "\n".join(sources)
    parts = {part.strip() for name in table_names(page, "symptom") for part in name.split("…")}
    assert {part for part in parts if part not in text} == set()


def test_every_page_of_docs_is_linked_from_another() -> None:
    linked = {
        (page.parent / str(child.attrGet("href")).partition("#")[0]).resolve()
        for page in PAGES
        for token in tokens(page)
        for child in token.children or ()
        if child.type == "link_open"
    }
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


def test_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_README_LINES
    assert [line for line in lines if len(line) > commands.MAX_COLUMNS] == []
    assert next(examples(README)).line < 10, "the first command comes early"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_has_a_heading_in_its_first_column(page: Path) -> None:
    found = tokens(page)
    headings = [found[index + 3].content for index, token in enumerate(found) if token.type == "thead_open"]
    assert "" not in headings
