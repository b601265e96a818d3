"""instructor: answers as pydantic models, by each of its modes that a server of OpenAI's API can follow."""

from __future__ import annotations

from typing import Any, Literal

import harness
import instructor
import openai
import pydantic
from harness import CAPITAL, CHAT, expect, row

ASKED: list[Any] = [{"role": "user", "content": CAPITAL}]


class City(pydantic.BaseModel):
    """A city."""

    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


def client(mode: instructor.Mode) -> Any:
    return instructor.from_openai(openai.OpenAI(base_url=harness.URL, api_key=harness.KEY), mode=mode)


def ask(mode: instructor.Mode, **more: Any) -> Any:
    fields = {"model": CHAT, "messages": ASKED, "response_model": City, "temperature": 0, "max_tokens": 100}
    return client(mode).create(**{**fields, "max_retries": 0, **more})


@row("chat")
def text() -> None:
    expect("Paris" in ask(instructor.Mode.TOOLS, response_model=None).choices[0].message.content)


@row("tools")
def tools() -> None:
    expect(isinstance(ask(instructor.Mode.TOOLS), City))
    expect(isinstance(ask(instructor.Mode.TOOLS_STRICT), City))


@row("several objects by tools")
def parallel() -> None:
    found = list(
        client(instructor.Mode.TOOLS).create_iterable(
            model=CHAT, messages=ASKED, response_model=City, temperature=0, max_tokens=300, max_retries=0
        )
    )
    expect(all(isinstance(one, City) for one in found), found)


@row("JSON")
def json_schema() -> None:
    expect(isinstance(ask(instructor.Mode.JSON_SCHEMA), City))


@row("stream")
def partial() -> None:
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        *_, last = client(mode).create_partial(
            model=CHAT, messages=ASKED, response_model=City, temperature=0, max_tokens=100, max_retries=0
        )
        expect(last.country in {"France", "Germany"}, mode, last)


@row("responses")
def responses() -> None:
    found = client(instructor.Mode.RESPONSES_TOOLS).create(
        model=CHAT, messages=ASKED, response_model=City, temperature=0, max_output_tokens=100, max_retries=0
    )
    expect(isinstance(found, City), found)


if __name__ == "__main__":
    harness.main("instructor")
