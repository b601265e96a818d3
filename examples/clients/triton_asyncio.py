"""Two streams of the ensemble at once with asyncio, one of them cancelled: pip install tritonclient[grpc]."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

address = os.environ.get("CONCH_TRITON_GRPC", "127.0.0.1:8001")
headers = {"triton-grpc-protocol-conch-key": os.environ.get("CONCH_KSERVE_KEY", "none")}
model = os.environ.get("CONCH_MODEL", "demo")


def tensor(name: str, datatype: str, values: np.ndarray) -> InferInput:
    found = InferInput(name, values.shape, datatype)
    found.set_data_from_numpy(values)
    return found


async def requests(question: str, request_id: str) -> AsyncIterator[dict]:
    """What one stream sends: here one request."""
    chat = {"messages": [{"role": "user", "content": question}]}
    inputs = [
        tensor("chat", "BYTES", np.array([[json.dumps(chat)]], dtype=np.object_)),
        tensor("max_tokens", "INT32", np.array([[40]], dtype=np.int32)),
        tensor("stream", "BOOL", np.array([[True]])),
    ]
    yield {"model_name": model, "inputs": inputs, "request_id": request_id, "enable_empty_final_response": True}


async def stop(client: InferenceServerClient, request_id: str) -> None:
    """Free the engine. Triton tells an ensemble's steps nothing of a stream that was cancelled, so they are told."""

    async def stops() -> AsyncIterator[dict]:
        inputs = [tensor("stop", "BOOL", np.array([[True]]))]
        yield {"model_name": f"{model}_engine", "inputs": inputs, "request_id": request_id}

    async for _, error in client.stream_infer(stops(), headers=headers):
        if error:
            raise error


async def answer(client: InferenceServerClient, question: str, request_id: str, most_characters: int) -> str:
    text = ""
    async for result, error in client.stream_infer(requests(question, request_id), headers=headers):
        if error:
            raise error
        response = result.get_response()
        if response.outputs:
            text += result.as_numpy("text_output")[0].decode()
        if response.parameters["triton_final_response"].bool_param:
            break
        if len(text) > most_characters:
            await stop(client, request_id)
            break
    return text


async def main() -> None:
    async with InferenceServerClient(address) as client:
        answers = await asyncio.gather(
            answer(client, "What is Conch?", "whole", most_characters=1000),
            answer(client, "What is Triton?", "cut short", most_characters=10),
        )
    print(*answers, sep="\n---\n")


asyncio.run(main())
