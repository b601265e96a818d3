"""Which parsers read an engine's answers: as its chat template tells, or as its spec says."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_scripts.build import ensure_engine
from build_scripts.engine.manifest import Manifest
from build_scripts.engine.render import engine_config
from build_scripts.spec import parsers
from gateway.parsers.families import REASONING_PARSERS, TOOL_PARSERS
from tests.triton_repo.preprocess.engines_with_templates import ONE_TEXT, write_spec
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import SpecError
from triton_repo.contract.model_card import ModelCard, ReasoningCard

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
HERMES = '{% if tools %}{{ tools | tojson }}<tool_call>\n{"name": …}{% endif %}' + PLAIN
SWITCHED = HERMES + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
ALWAYS = PLAIN + "<think>\n"
OPENED = PLAIN + "{% if thinking %}<think>{% else %}</think>{% endif %}"
LEVELS = PLAIN + "{{ reasoning_effort }}"


def card(directory: Path, template: str, sections: str = ONE_TEXT) -> ModelCard:
    engine = ensure_engine(str(write_spec(directory, "formatted", template, sections)))
    return EngineConfig.load(engine.directory).card


@pytest.mark.parametrize(
    ("template", "tools", "reasoning"),
    [
        (PLAIN, "hermes", None),  # in words
        (HERMES, "hermes", None),
        (
            SWITCHED,
            "hermes",
            ReasoningCard(
                "qwen3",
                "enable_thinking",
                tail="<user>a<assistant>",
                tail_on="<user>a<assistant>",
                tail_off="<user>a<assistant><think>\n\n</think>\n\n",
            ),
        ),
        (ALWAYS, "hermes", ReasoningCard("qwen3", None, tail="<user>a<assistant><think>")),
        (
            OPENED,
            "hermes",
            ReasoningCard(
                "qwen3",
                "thinking",
                tail="<user>a<assistant></think>",
                tail_on="<user>a<assistant><think>",
                tail_off="<user>a<assistant></think>",
            ),
        ),
        (LEVELS, "hermes", ReasoningCard(None, None, reads_effort=True, tail="<user>a<assistant>")),
    ],
)
def test_the_card_says_what_the_template_tells(
    tmp_path: Path, template: str, tools: str | None, reasoning: ReasoningCard | None
) -> None:
    found = card(tmp_path, template)
    assert (found.tool_parser, found.reasoning) == (tools, reasoning)
    assert ModelCard.from_json(found.to_json()) == found


def test_the_spec_says_otherwise(tmp_path: Path) -> None:
    serve = '[serve]\ntool_parser = "mistral"\nreasoning_parser = "none"\n' + ONE_TEXT
    found = card(tmp_path, SWITCHED, serve)
    assert (found.tool_parser, found.reasoning and found.reasoning.parser) == ("mistral", None)


def test_a_parser_that_does_not_exist_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r'serve.tool_parser = "hermess"; allowed: .*hermes, .*none'):
        card(tmp_path, HERMES, '[serve]\ntool_parser = "hermess"\n' + ONE_TEXT)


def test_an_engine_of_an_earlier_version_is_looked_at_when_it_is_rendered(tmp_path: Path) -> None:
    directory = EngineDirectory(ensure_engine(str(write_spec(tmp_path, "formatted", SWITCHED))).directory)
    manifest = Manifest.load(directory)
    assert engine_config(manifest.model_copy(update={"template": None}), directory) == engine_config(
        manifest, directory
    )


def test_the_parsers_that_a_spec_may_name_are_those_of_the_gateway() -> None:
    assert tuple(sorted(TOOL_PARSERS)) == parsers.TOOL_PARSERS
    assert tuple(sorted(REASONING_PARSERS)) == parsers.REASONING_PARSERS
