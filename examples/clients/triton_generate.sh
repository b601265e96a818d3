#!/bin/sh
# Triton's generate extension on the ensemble, with the requests of NVIDIA's TensorRT-LLM backend: with curl.
set -eu

url=${CONCH_TRITON_HTTP:-http://127.0.0.1:8000}
key=${CONCH_KSERVE_KEY:-none}
model=${CONCH_MODEL:-demo}

generate() {
    curl --fail-with-body --silent --show-error --no-buffer "$url/v2/models/$model/$1" \
        --header "conch-key: $key" --data "$2"
}

generate generate '{"text_input": "What is Triton?", "max_tokens": 20, "bad_words": "", "stop_words": ""}'
echo
generate generate_stream '{"text_input": "What is Triton?", "max_tokens": 20, "stream": true}'
