"""Several questions at once, which the engine answers in one batch: pip install openai."""

import asyncio
import os

from openai import AsyncOpenAI

QUESTIONS = ("What is Conch?", "What is Triton?", "What does conch doctor do?")


async def main() -> None:
    model = os.environ.get("CONCH_MODEL", "demo")
    client = AsyncOpenAI(
        base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000") + "/v1",
        api_key=os.environ.get("CONCH_API_KEY", "none"),
    )

    async def ask(question: str) -> str:
        answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
        return answer.choices[0].message.content or ""

    async with client:
        answers = await asyncio.gather(*map(ask, QUESTIONS))
    for question, answer in zip(QUESTIONS, answers, strict=True):
        print(f"{question}\n{answer}\n")


asyncio.run(main())
