"""A machine that can compile: stand-ins for `trtllm-build`, for NVML, and for the `nvidia-smi` of a GPU host.

`trtllm-build` takes the options of TensorRT-LLM 1.2.1 and no others, needs the keys of `config.json` that the model of
each architecture reads, says what the real one says, and writes an engine directory as the real one does. TRTLLM_BUILD
in its environment makes it fail: `error` (as TensorRT does), `raise`, or `hang`, which it does with its process id in
the file TRTLLM_PID.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.build_scripts.tensorrt_llm.model_keys import CHECKS, MODEL_KEYS
from tests.fake_nvml import H100, install_gpus

BUILD = """#!{python}
import argparse, json, os, pathlib, sys, time

def switch(text):
    if text not in ("enable", "disable"):
        raise argparse.ArgumentTypeError(text)
    return text

parser = argparse.ArgumentParser(prog="trtllm-build", allow_abbrev=False)
for name in ("checkpoint_dir", "model_config", "build_config", "model_cls_file", "model_cls_name", "output_dir"):
    parser.add_argument("--" + name)
for name in ("max_batch_size", "max_input_len", "max_seq_len", "max_beam_width", "max_num_tokens", "opt_num_tokens",
             "max_encoder_input_len", "max_prompt_embedding_table_size", "workers", "max_draft_len", "max_lora_rank"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--kv_cache_type", choices=["continuous", "paged", "disabled"])
parser.add_argument("--tokens_per_block", type=int)
parser.add_argument("--speculative_decoding_mode", choices=["draft_tokens_external", "lookahead_decoding", "medusa",
                    "explicit_draft_tokens", "eagle"])
parser.add_argument("--logits_dtype", choices=["float16", "float32"])
parser.add_argument("--log_level", default="info")
parser.add_argument("--lora_target_modules", nargs="+", choices=["attn_q", "attn_k", "attn_v", "attn_dense",
                    "mlp_h_to_4h", "mlp_gate", "mlp_4h_to_h"])
plugin = ["auto", "float16", "bfloat16", "float32", "int32", "fp8", "nvfp4", "disable"]
parser.add_argument("--gemm_plugin", choices=plugin)
parser.add_argument("--lora_plugin", choices=plugin)
for name in ("use_paged_context_fmha", "multiple_profiles", "context_fmha", "remove_input_padding", "reduce_fusion"):
    parser.add_argument("--" + name, type=switch)
args = parser.parse_args()

fails = os.environ.get("TRTLLM_BUILD")
checkpoint = json.loads((pathlib.Path(args.checkpoint_dir) / "config.json").read_text())
{checks}
if args.multiple_profiles == "enable" and args.opt_num_tokens is not None:
    raise RuntimeError("multiple_profiles is enabled, while opt_num_tokens is set.")
adapted = set(args.lora_target_modules or ()) - {{"attn_q", "attn_k", "attn_v"}}
if checkpoint["quantization"]["quant_algo"] == "NVFP4" and adapted:
    raise AssertionError("lora is not supported on FP4Linear now")
output = pathlib.Path(args.output_dir)
output.mkdir(parents=True, exist_ok=True)
print("[TensorRT-LLM] TensorRT-LLM version: 1.2.1")
world = checkpoint["mapping"]["world_size"]
for rank in range(world):
    assert (pathlib.Path(args.checkpoint_dir) / f"rank{{rank}}.safetensors").is_file()
    print("[11/21/2026-00:00:01] [TRT-LLM] [I] Total time of constructing network from module object 3.1 seconds")
    print("[11/21/2026-00:00:01] [TRT-LLM] [I] Build TensorRT engine Unnamed Network 0", flush=True)
    if fails == "hang":
        pathlib.Path(os.environ["TRTLLM_PID"]).write_text(str(os.getpid()))
        time.sleep(600)
    if fails == "error":
        print("[11/21/2026-00:00:02] [TRT] [E] Error Code 1: Cuda Runtime (out of memory)")
        print("[11/21/2026-00:00:02] [TRT] [E] what came of it")
        sys.stderr.write("Traceback (most recent call last):\\n  File x, line 1\\n")
        sys.exit("AssertionError: Engine building failed, please check error log.")
    if fails == "raise":
        raise ValueError("Required but not provided tensors:{{'transformer.ln_f.weight'}}")
    (output / f"rank{{rank}}.engine").write_bytes(b"engine")
    print(f"[11/21/2026-00:00:03] [TRT-LLM] [I] Serializing engine to {{output}}/rank{{rank}}.engine...")
    print("[11/21/2026-00:00:03] [TRT-LLM] [I] Engine serialized. Total time: 00:00:00", flush=True)
config = {{"version": "1.2.1", "pretrained_config": checkpoint,
          "build_config": {{key: value for key, value in vars(args).items() if value is not None}}}}
(output / "config.json").write_text(json.dumps(config))
print("[11/21/2026-00:00:03] [TRT-LLM] [I] Total time of building all engines: 00:00:02")
"""

# NVIDIA's quantizer: a checkpoint that transformers 4 reads, into shards of one rank.
QUANTIZE = """import argparse, json, pathlib
parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("model_dir", "output_dir", "dtype", "qformat", "tp_size", "pp_size"):
    parser.add_argument("--" + name)
args = parser.parse_args()
source = pathlib.Path(args.model_dir)
config = json.loads((source / "config.json").read_text())
assert "rope_theta" in config or "rope_parameters" not in config, "theta would be 10000"
assert (source / "model.safetensors").is_file() and (source / "tokenizer.json").is_file()
output = pathlib.Path(args.output_dir)
output.mkdir()
(output / "rank0.safetensors").write_bytes(b"")
values = {key: None for key in KEYS[config["architectures"][0]]}
values |= {"architecture": config["architectures"][0], "quantization": {"quant_algo": args.qformat.upper()}}
values["mapping"] = {"world_size": 1, "gpus_per_node": 8, "tp_size": 1, "pp_size": 1}
(output / "config.json").write_text(json.dumps(values))
""".replace("KEYS", repr(MODEL_KEYS))

SMI = """#!/bin/sh
case "$1" in
  --query-gpu=name,compute_cap) echo "NVIDIA H100 80GB HBM3, 9.0"; echo "NVIDIA H100 80GB HBM3, 9.0";;
  *) exit 2;;
esac
"""


def use_gpu_host(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Put the stand-ins into `directory` and on the PATH, and let this process see two GPUs."""
    directory.mkdir(exist_ok=True)
    for name, text in (
        ("trtllm-build", BUILD.format(python=sys.executable, checks=CHECKS)),
        ("nvidia-smi", SMI),
    ):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
    install_gpus(monkeypatch, H100, H100)
