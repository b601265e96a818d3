"""A whole answer from the ensemble over gRPC: pip install tritonclient[grpc].

The ensemble is decoupled, so its requests travel on a stream, also one that asks for a whole answer.
"""

import json
import os
import queue

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

address = os.environ.get("CONCH_TRITON_GRPC", "127.0.0.1:8001")
headers = {"triton-grpc-protocol-conch-key": os.environ.get("CONCH_KSERVE_KEY", "none")}
model = os.environ.get("CONCH_MODEL", "demo")


def tensor(name: str, datatype: str, values: np.ndarray) -> InferInput:
    found = InferInput(name, values.shape, datatype)
    found.set_data_from_numpy(values)
    return found


# A chat goes through the template of the checkpoint; `text_input` in its place is the prompt itself.
chat = {"messages": [{"role": "user", "content": "What is Conch?"}]}
inputs = [
    tensor("chat", "BYTES", np.array([[json.dumps(chat)]], dtype=np.object_)),
    tensor("max_tokens", "INT32", np.array([[40]], dtype=np.int32)),
]
answers = queue.Queue()
with InferenceServerClient(address) as client:
    client.start_stream(lambda result, error: answers.put(error or result), headers=headers)
    client.async_stream_infer(model, inputs)
    answer = answers.get()
    if isinstance(answer, Exception):
        raise answer
    print(answer.as_numpy("text_output")[0].decode())
    print("ended by:", answer.as_numpy("finish_reason").item().decode())
