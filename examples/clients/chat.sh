#!/bin/sh
# A whole answer, then the same as a stream, with curl.
set -eu

url=${CONCH_URL:-http://127.0.0.1:9000}
key=${CONCH_API_KEY:-none}
model=${CONCH_MODEL:-demo}

ask() {
    curl --fail-with-body --silent --show-error --no-buffer "$url/v1/chat/completions" \
        --header "Authorization: Bearer $key" --header "Content-Type: application/json" \
        --data "{\"model\": \"$model\", \"stream\": $1, \"messages\": [{\"role\": \"user\", \"content\": \"What is Conch?\"}]}"
}

ask false
echo
ask true
