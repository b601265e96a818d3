"""What the ranks of a TensorRT-LLM checkpoint compute: its files, run rank after rank without TensorRT-LLM."""
