"""LlamaIndex's client of servers that speak OpenAI's API."""

from typing import Any, Literal

import harness
import pydantic
from harness import AGENT, ANSWER, CAPITAL, CHAT, EMBED, WEATHER, expect, expect_weather, row
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike, OpenAILikeResponses


class City(pydantic.BaseModel):
    """A city."""

    name: str = pydantic.Field(max_length=30)
    country: Literal["France", "Germany"]


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the weather of a city."""
    return ANSWER


TOOL = FunctionTool.from_defaults(get_weather)
ACCESS: dict[str, Any] = {"api_base": harness.URL, "api_key": harness.KEY}
ASKED = [ChatMessage(role="user", content=CAPITAL)]


def model(**more: Any) -> Any:
    kind = {"is_chat_model": True, "is_function_calling_model": True, "should_use_structured_outputs": True}
    return OpenAILike(**{"model": CHAT, "temperature": 0, "max_tokens": 100, **kind, **ACCESS, **more})


@row("chat")
def whole() -> None:
    expect("Paris" in model().chat(ASKED).message.content)


@row("stream")
def streamed() -> None:
    text = "".join(part.delta for part in model().stream_chat(ASKED))
    expect(text == model().chat(ASKED).message.content, text)


@row("async chat and stream")
async def asynchronous() -> None:
    asked = model()
    text = "".join([part.delta async for part in await asked.astream_chat(ASKED)])
    expect((await asked.achat(ASKED)).message.content == text, text)


@row("tools")
def tools() -> None:
    asked = model()
    answer = asked.chat_with_tools([TOOL], user_msg=WEATHER, tool_required=True)
    for call in asked.get_tool_calls_from_response(answer):
        expect_weather(call.tool_kwargs)


@row("stream of tools")
def streamed_tools() -> None:
    asked = model()
    *_, last = asked.stream_chat_with_tools([TOOL], user_msg=WEATHER, tool_required=True)
    calls = asked.get_tool_calls_from_response(last)
    expect(calls)
    for call in calls:
        expect_weather(call.tool_kwargs)


@row("agent")
def agent() -> None:
    expect(ANSWER in str(model().predict_and_call([TOOL], user_msg=AGENT)))


@row("agent workflow, streamed")
async def workflow() -> None:
    from llama_index.core.agent.workflow import FunctionAgent

    expect(ANSWER in str(await FunctionAgent(tools=[TOOL], llm=model()).run(user_msg=AGENT)))


@row("JSON schema, parsed")
def structured() -> None:
    found = model().as_structured_llm(City).chat(ASKED).raw
    expect(isinstance(found, City), found)


@row("completions")
def completions() -> None:
    asked = model(is_chat_model=False, max_tokens=5)
    text = "".join(part.delta for part in asked.stream_complete("The capital of France is"))
    expect(text == asked.complete("The capital of France is").text, text)


@row("responses")
def responses() -> None:
    asked = OpenAILikeResponses(model=CHAT, temperature=0, max_output_tokens=100, **ACCESS)
    expect("Paris" in (asked.chat(ASKED).message.content or ""))
    expect("Paris" in "".join(part.delta or "" for part in asked.stream_chat(ASKED)))


@row("embeddings")
def embeddings() -> None:
    asked = OpenAILikeEmbedding(model_name=EMBED, **ACCESS)
    [one, two] = asked.get_text_embedding_batch(["a king", "a queen"])
    expect(len(one) == len(two) > 0)


if __name__ == "__main__":
    harness.main("llama-index-llms-openai-like")
