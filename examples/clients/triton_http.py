"""Triton over HTTP: is the model ready, what does it take, how many tokens has a text: pip install tritonclient[http].

`infer` works on models that give one response for a request. The ensemble gives many, so over HTTP it has `generate`
and `generate_stream` instead (triton_generate.sh), which tritonclient does not know.
"""

import os

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

address = os.environ.get("CONCH_TRITON_HTTP", "http://127.0.0.1:8000").removeprefix("http://")
headers = {"conch-key": os.environ.get("CONCH_KSERVE_KEY", "none")}
model = os.environ.get("CONCH_MODEL", "demo")

with InferenceServerClient(address) as client:
    print("ready:", client.is_model_ready(model, headers=headers))
    inputs = client.get_model_metadata(model, headers=headers)["inputs"]
    print("inputs:", *(tensor["name"] for tensor in inputs))

    text = InferInput("text_input", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([["What is Conch?"]], dtype=np.object_))
    answer = client.infer(
        f"{model}_preprocess",
        [text],
        outputs=[InferRequestedOutput("input_ids")],
        parameters={"tokenize": "ids"},
        headers=headers,
    )
    print("tokens:", answer.as_numpy("input_ids")[0].tolist())
