#!/usr/bin/env bash
# Adds Conch to the Python packages of one of NVIDIA's images, and moves none of those: TensorRT-LLM pins many of them.
# `make test-pins` runs it too, on the packages of docker/pins/.
#   docker/add_conch.sh CONSTRAINTS     in the root of the repository; CONSTRAINTS is written: what the image came with
set -euo pipefail

constraints=$1
# NVIDIA's PyTorch images set a file of constraints of their own, which is no longer what they contain.
export PIP_CONSTRAINT='' PIP_DISABLE_PIP_VERSION_CHECK=1
export LC_ALL=C # `comm` expects the order that `sort` made

packages() { python3 -m pip list --format freeze | sort; }

packages >"$constraints"
python3 -m pip install --constraint "$constraints" --editable '.[api,models,gguf]'
# NVIDIA's client of Triton is added without its dependencies, which [api] names: its metadata forbids versions that the
# images have (ml_dtypes 0.6, grpcio from 1.68 on), and its code runs on them. This release takes any grpcio from 1.67.1 on.
python3 -m pip install --no-deps 'tritonclient==2.71.0'

moved=$(comm -23 "$constraints" <(packages))
if [[ -n $moved ]]; then
  printf 'the image had these, and has other versions now:\n%s\n' "$moved" >&2
  exit 1
fi
